-- CLMS 1.0.0. A statement ends with a semicolon at the end of a line.
CREATE TABLE users (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username VARCHAR(64) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    role VARCHAR(32) NOT NULL,
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    UNIQUE KEY users_username (username)
) ENGINE=InnoDB;

CREATE TABLE students (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    student_id VARCHAR(64) NOT NULL,
    first_name VARCHAR(100) NOT NULL,
    last_name VARCHAR(100) NOT NULL,
    grade_level VARCHAR(64) NULL,
    grade_category VARCHAR(32) NOT NULL DEFAULT '',
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    UNIQUE KEY students_student_id (student_id)
) ENGINE=InnoDB;

CREATE TABLE books (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    accession_no VARCHAR(64) NOT NULL,
    title VARCHAR(255) NOT NULL,
    author VARCHAR(255) NOT NULL DEFAULT '',
    category VARCHAR(64) NOT NULL DEFAULT '',
    shelf VARCHAR(64) NOT NULL DEFAULT '',
    total_copies INT NOT NULL DEFAULT 1,
    available_copies INT NOT NULL DEFAULT 1,
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    UNIQUE KEY books_accession_no (accession_no),
    KEY books_title (title)
) ENGINE=InnoDB;

CREATE TABLE borrows (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    student_id INT NOT NULL,
    book_id INT NOT NULL,
    borrowed_at DATETIME(3) NOT NULL,
    due_at DATETIME(3) NOT NULL,
    returned_at DATETIME(3) NULL,
    librarian VARCHAR(64) NOT NULL,
    note VARCHAR(255) NULL,
    KEY borrows_note (note),
    KEY borrows_due (returned_at, due_at),
    CONSTRAINT borrows_student FOREIGN KEY (student_id) REFERENCES students (id),
    CONSTRAINT borrows_book FOREIGN KEY (book_id) REFERENCES books (id)
) ENGINE=InnoDB;

CREATE TABLE audit_log (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username VARCHAR(64) NOT NULL,
    action VARCHAR(64) NOT NULL,
    details TEXT NOT NULL,
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)
) ENGINE=InnoDB;

CREATE TABLE SystemSettings (
    `key` VARCHAR(64) NOT NULL PRIMARY KEY,
    `value` TEXT NOT NULL,
    updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)
) ENGINE=InnoDB;

INSERT INTO SystemSettings (`key`, `value`) VALUES
    ('version', '1.0.0'), ('library_name', 'School library'), ('loan_days', '14');
