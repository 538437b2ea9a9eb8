// SPDX-License-Identifier: GPL-3.0-or-later
// Whoever gives a day and a time means them, until another answer is chosen; without scripts, the page asks.
const at = document.getElementById("at");
at.addEventListener("input", () => {
  if (at.value) document.querySelector('input[name="when"][value="own"]').checked = true;
});
at.form.addEventListener("change", ({ target }) => {
  if (target.name === "when" && target.value !== "own") at.value = "";
});
