-- CLMS 1.0.9-hangs. Stands for a statement that waits for a lock or works for hours.
ALTER TABLE books ADD COLUMN edition VARCHAR(32) NULL;

SELECT SLEEP(3600);

ALTER TABLE books ADD COLUMN publisher VARCHAR(100) NULL;
