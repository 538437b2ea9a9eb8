"use strict";

// What happens when a search has found its books.
function afterSearch(books) {
  show("message", books.length === 1 ? "1 book found." : `${books.length} books found.`);
}
