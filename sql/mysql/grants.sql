-- The least that the capture account needs, for MySQL 8 and later and MariaDB 10.5 and later.
-- Put a password of your own in place of choose-a-password, and your database's name for thryve.
--   SELECT              the initial snapshot, and the tables' definitions
--   REPLICATION SLAVE   reading the binlog
--   REPLICATION CLIENT  asking where the binlog ends (MariaDB calls it BINLOG MONITOR and knows both)
-- It can neither write nor lock anything.
CREATE USER IF NOT EXISTS 'pipe'@'%' IDENTIFIED BY 'choose-a-password';
GRANT SELECT ON thryve.* TO 'pipe'@'%';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'pipe'@'%';
