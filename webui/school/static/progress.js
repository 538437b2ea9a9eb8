// SPDX-License-Identifier: GPL-3.0-or-later
// Puts the piece of the page that the server sends whenever something has changed in its place.
const box = document.getElementById("progress");
const spoken = document.getElementById("spoken"); // it stays, or screen readers would not notice that it says something
const stream = new EventSource(box.dataset.stream);
const heading = () => (box.querySelector(".phase") ?? box.querySelector("h2")).textContent;
const show = (html) => {
  const before = heading();
  box.innerHTML = html;
  if (heading() !== before) spoken.textContent = heading();
};
stream.onmessage = (message) => {
  const { html, running, stoppable, failed } = JSON.parse(message.data);
  if (failed) {
    show(html); // nothing is known right now; what goes on goes on
    return;
  }
  if (box.dataset.begun && !running) return; // it is about to begin
  if (box.dataset.run && !running) {
    stream.close();
    location.assign(`${box.dataset.history}/${box.dataset.run}`);
    return;
  }
  if (running && String(running) !== box.dataset.run) {
    location.reload(); // another run: its buttons are others too
    return;
  }
  show(html);
  // it stands beside the box, so that whoever has come to it with the keyboard stays there
  const stop = document.getElementById("stop");
  if (stop) stop.hidden = !stoppable;
};
// it may have been refused before it began, or have ended already: the page knows where that is shown
if (box.dataset.begun) setTimeout(() => location.reload(), 5000);
stream.onerror = () => {
  if (stream.readyState !== EventSource.CLOSED) return; // it tries again by itself
  box.textContent = spoken.textContent = box.dataset.lost;
};
