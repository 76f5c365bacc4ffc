-- What may be left of instances on nodes that they were taken from.
CREATE TABLE stray (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, instance_id TEXT NOT NULL, node TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX stray_node ON stray (node);
CREATE INDEX stray_instance ON stray (instance_id);
