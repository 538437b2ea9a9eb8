// SPDX-License-Identifier: GPL-3.0-or-later
// Puts the piece of the page that the server sends whenever something has changed in its place.
const box = document.getElementById("progress");
const stream = new EventSource(box.dataset.stream);
stream.onmessage = (message) => {
  const { html, running } = JSON.parse(message.data);
  if (box.dataset.run && !running) {
    stream.close();
    location.assign(`${box.dataset.history}/${box.dataset.run}`);
    return;
  }
  if (running && String(running) !== box.dataset.run) {
    location.reload(); // another run: its buttons are others too
    return;
  }
  box.innerHTML = html;
};
