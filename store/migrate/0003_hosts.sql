-- Clusters (availability zones) and their heads.
CREATE TABLE cluster (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
