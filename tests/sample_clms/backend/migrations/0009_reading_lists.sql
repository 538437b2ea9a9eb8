-- CLMS 1.0.9-fifthstatement. The fifth statement names a column that no schema ever had, so the fourth has already
-- taken a column away that the application needs.
CREATE TABLE reading_lists (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(100) NOT NULL
) ENGINE=InnoDB;

CREATE TABLE reading_list_books (
    list_id INT NOT NULL,
    book_id INT NOT NULL,
    PRIMARY KEY (list_id, book_id)
) ENGINE=InnoDB;

ALTER TABLE books ADD COLUMN reading_level SMALLINT NULL;

ALTER TABLE students DROP COLUMN grade_category;

ALTER TABLE students ADD KEY students_grade (grade_lvl);

INSERT INTO reading_lists (name) VALUES ('Summer reading');
