-- CLMS 1.0.1. Books get a location code in place of the free text "shelf", who lent and took back a book becomes
-- a history of its own, and grade levels become short and obligatory.
ALTER TABLE books ADD COLUMN location_code VARCHAR(32) NOT NULL DEFAULT 'MAIN' AFTER category;

UPDATE books SET location_code = UPPER(LEFT(shelf, 32)) WHERE shelf <> '';

ALTER TABLE books DROP COLUMN shelf;

UPDATE students SET grade_level = 'UNKNOWN' WHERE grade_level IS NULL;

ALTER TABLE students MODIFY COLUMN grade_level VARCHAR(16) NOT NULL;

CREATE TABLE borrow_events (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    borrow_id INT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    username VARCHAR(64) NOT NULL,
    at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    CONSTRAINT borrow_events_borrow FOREIGN KEY (borrow_id) REFERENCES borrows (id)
) ENGINE=InnoDB;

INSERT INTO borrow_events (borrow_id, kind, username, at)
    SELECT id, 'checkout', librarian, borrowed_at FROM borrows ORDER BY id;

ALTER TABLE borrows DROP COLUMN librarian;
