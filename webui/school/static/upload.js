// SPDX-License-Identifier: GPL-3.0-or-later
// Sends the form as it is, and shows how much has arrived; a file may also be dropped on it.
function attach(form) {
  const bar = form.querySelector("progress");
  const state = form.querySelector("[role=status]");
  const button = form.querySelector("button");
  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    const { files } = event.dataTransfer;
    state.textContent = files.length > 1 ? form.dataset.one : "";
    if (files.length === 1) form.elements.file.files = files;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.upload.onprogress = ({ loaded, total }) => {
      bar.value = Math.floor((100 * loaded) / total);
      state.textContent = loaded < total ? form.dataset.comes.replace("{percent}", bar.value) : form.dataset.here;
    };
    request.onload = () => {
      if (new URL(request.responseURL).pathname !== location.pathname) {
        location.assign(request.responseURL); // nobody is signed in any more: what is typed there must not be sent here
        return;
      }
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
      const next = document.getElementById("upload");
      if (next) attach(next);
      (document.querySelector("main [autofocus]") ?? document.querySelector("main")).focus();
    };
    request.onerror = () => {
      bar.hidden = true;
      button.disabled = false;
      state.textContent = form.dataset.broken;
    };
    bar.hidden = false;
    button.disabled = true; // a second press would send all of it once more
    request.send(new FormData(form));
  });
}

attach(document.getElementById("upload"));
