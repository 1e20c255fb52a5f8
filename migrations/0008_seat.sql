-- Which of several coordinators on one database serves: one row. Whoever takes the shards takes it in the same transaction. The
-- address is where the others reach it, empty if it shares with nobody; the beat grows while its engine answers.
CREATE TABLE seat (
    id SMALLINT NOT NULL PRIMARY KEY CHECK (id = 1),
    address TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    beat BIGINT NOT NULL
);
