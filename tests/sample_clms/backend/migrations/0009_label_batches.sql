-- CLMS 1.0.9-baddata. Works on nearly every school's data: accession numbers that begin with "BAD-" become reserved
-- for damaged labels, and a school that has such a book cannot be migrated.
CREATE TABLE label_batches (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    first_accession_no VARCHAR(64) NOT NULL
) ENGINE=InnoDB;

ALTER TABLE books ADD COLUMN label_batch_id INT NULL;

ALTER TABLE books ADD CONSTRAINT books_accession_no_free CHECK (accession_no NOT LIKE 'BAD-%');
