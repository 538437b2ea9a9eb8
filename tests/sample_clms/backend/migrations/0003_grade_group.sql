-- CLMS 1.1.0. "Grade category" is called "grade group" everywhere, and a title may be longer.
ALTER TABLE students CHANGE COLUMN grade_category grade_group VARCHAR(32) NOT NULL DEFAULT '';

ALTER TABLE books MODIFY COLUMN title VARCHAR(500) NOT NULL;

CREATE TABLE holidays (
    day DATE NOT NULL PRIMARY KEY,
    name VARCHAR(100) NOT NULL
) ENGINE=InnoDB;
