"use strict";

// What happens when a search has found its books.
function afterSearch() {
  show("message", "");
}
