// SPDX-License-Identifier: GPL-3.0-or-later
// Whoever gives a day and a time means them; without scripts, the page asks.
document.getElementById("at").addEventListener("input", ({ target }) => {
  if (target.value) document.querySelector('input[name="when"][value="own"]').checked = true;
});
