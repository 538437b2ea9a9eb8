"use strict";

let token = "";

async function api(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(window.CLMS_API + path, { method, headers, body: body && JSON.stringify(body) });
  const content = await answer.json();
  if (!content.success) throw new Error(content.error);
  return content.data;
}

function show(id, text) {
  document.getElementById(id).textContent = text;
}

function fill(books) {
  const rows = books.map((book) => {
    const row = document.createElement("tr");
    for (const text of [book.accession_no, book.title, book.author, `${book.available_copies} of ${book.total_copies}`]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    return row;
  });
  document.getElementById("books").replaceChildren(...rows);
}

async function search() {
  const text = document.getElementById("search").value;
  const books = await api("GET", `/api/books?limit=50&search=${encodeURIComponent(text)}`);
  fill(books);
  afterSearch(books);
}

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  try {
    token = (await api("POST", "/api/auth/login", Object.fromEntries(form))).accessToken;
    event.target.hidden = true;
    document.getElementById("catalogue").hidden = false;
    await search();
  } catch (error) {
    show("message", error.message);
  }
});

document.getElementById("search").addEventListener("change", () => {
  search().catch((error) => show("message", error.message));
});
