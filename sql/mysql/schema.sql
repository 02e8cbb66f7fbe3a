-- The demo database: measurements of wearables, as a company keeps them in MySQL or MariaDB.
-- Idempotent. Runs on both; foreign keys are left out on purpose, as high-volume schemas do (and as
-- changes made by a cascade are not in the binlog of MariaDB and of older MySQL).
CREATE DATABASE IF NOT EXISTS thryve CHARACTER SET utf8mb4;
USE thryve;

CREATE TABLE IF NOT EXISTS app (
  id         SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
  name       VARCHAR(100) NOT NULL,
  plan       VARCHAR(50)  NOT NULL,
  created_at DATETIME(3)  NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS end_user (
  id           INT UNSIGNED NOT NULL PRIMARY KEY,
  app_id       SMALLINT UNSIGNED NOT NULL,
  email        VARCHAR(255) NOT NULL,
  access_token VARCHAR(255) NOT NULL,
  country      CHAR(2) NULL,
  created_at   DATETIME(3) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS epoch_data_type (
  id   INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(100) NOT NULL,
  unit VARCHAR(20)  NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS data_source (
  id     SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
  name   VARCHAR(100) NOT NULL,
  vendor VARCHAR(100) NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS generation_type (
  id          TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  name        VARCHAR(100) NOT NULL,
  description VARCHAR(255) NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS generation_device (
  id          TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  name        VARCHAR(100) NOT NULL,
  description VARCHAR(255) NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS trustworthiness (
  id          TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  name        VARCHAR(100) NOT NULL,
  description VARCHAR(255) NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS epoch_data (
  id                 BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  end_user_id        INT UNSIGNED NOT NULL,
  data_type_id       INT UNSIGNED NOT NULL,
  data_source_id     SMALLINT UNSIGNED NOT NULL,
  start_ts           DATETIME(3) NOT NULL,
  end_ts             DATETIME(3) NULL,
  created_at         DATETIME(3) NOT NULL,
  double_value       DOUBLE NULL,
  long_value         BIGINT NULL,
  boolean_value      TINYINT(1) NULL,
  string_value       VARCHAR(255) NULL,
  trustworthiness_id TINYINT UNSIGNED NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
