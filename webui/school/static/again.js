// SPDX-License-Identifier: GPL-3.0-or-later
// Looks again by itself: what does not answer right now is most often being started anew.
setTimeout(() => location.reload(), 5000);
