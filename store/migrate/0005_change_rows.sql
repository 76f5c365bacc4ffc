-- The change feed: one row for all that a commit changed. Its lines are
-- account, kind and id, with tabs between; the first has revision first, the
-- last has rev.
ALTER TABLE change RENAME TO change_lines;
CREATE TABLE change (rev INTEGER PRIMARY KEY, first INTEGER NOT NULL, lines TEXT NOT NULL) STRICT;
INSERT INTO change SELECT rev, rev, account_id || char(9) || kind || char(9) || id FROM change_lines;
DROP TABLE change_lines;
