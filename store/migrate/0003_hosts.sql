-- Clusters (availability zones) and their heads.
CREATE TABLE cluster (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;

-- Tokens by which hosts join, and the keys of hosts that have a name.
CREATE TABLE join_token (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE host_denied (identity TEXT PRIMARY KEY) STRICT;
CREATE TABLE host_key (identity TEXT PRIMARY KEY, key TEXT NOT NULL) STRICT;
