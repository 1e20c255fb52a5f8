-- Tasks that a lease holds no longer although neither a waiting result nor a decision says so: four big-endian bytes each,
-- in the order in which they were given back; NULL when there is none.
ALTER TABLE lease ADD COLUMN given_back BLOB;
