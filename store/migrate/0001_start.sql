-- Every noun: its id, its owner, the columns that queries need, and itself as JSON.

CREATE TABLE account (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL UNIQUE, body TEXT NOT NULL) STRICT;
CREATE TABLE access_key (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX access_key_account ON access_key (account_id);

CREATE TABLE instance (
  id TEXT PRIMARY KEY, account_id TEXT NOT NULL, reservation_id TEXT NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL,
  node TEXT NOT NULL, cpus INTEGER NOT NULL, memory_mib INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX instance_account ON instance (account_id, id);
CREATE INDEX instance_reservation ON instance (reservation_id);
CREATE INDEX instance_node ON instance (node) WHERE state <> 'terminated';
CREATE INDEX instance_moving ON instance (state) WHERE state IN ('pending', 'stopping', 'shutting-down');
CREATE INDEX instance_gone ON instance (since) WHERE state = 'terminated';

CREATE TABLE volume (
  id TEXT PRIMARY KEY, account_id TEXT NOT NULL, instance_id TEXT NOT NULL, node TEXT NOT NULL, size_gib INTEGER NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX volume_hash ON volume (hash) WHERE hash <> '';
CREATE INDEX volume_account ON volume (account_id, id);
CREATE INDEX volume_instance ON volume (instance_id) WHERE instance_id <> '';

-- What occupies a node. It is the SUM over the rows of instance (cpus and
-- memory are zero there unless the instance holds its node) and of volume,
-- kept by the database itself in the transaction that changes a row.
CREATE TABLE node_use (node TEXT PRIMARY KEY, instances INTEGER NOT NULL, cpus INTEGER NOT NULL, memory_mib INTEGER NOT NULL, disk_gib INTEGER NOT NULL) STRICT;
CREATE TRIGGER instance_use_new AFTER INSERT ON instance WHEN NEW.cpus > 0 BEGIN
  INSERT INTO node_use VALUES (NEW.node, 1, NEW.cpus, NEW.memory_mib, 0) ON CONFLICT (node) DO UPDATE SET
    instances = instances + 1, cpus = cpus + excluded.cpus, memory_mib = memory_mib + excluded.memory_mib;
END;
CREATE TRIGGER instance_use_old AFTER DELETE ON instance WHEN OLD.cpus > 0 BEGIN
  UPDATE node_use SET instances = instances - 1, cpus = cpus - OLD.cpus, memory_mib = memory_mib - OLD.memory_mib WHERE node = OLD.node;
END;
CREATE TRIGGER instance_use_move AFTER UPDATE ON instance WHEN OLD.node <> NEW.node OR OLD.cpus <> NEW.cpus OR OLD.memory_mib <> NEW.memory_mib BEGIN
  UPDATE node_use SET instances = instances - (OLD.cpus > 0), cpus = cpus - OLD.cpus, memory_mib = memory_mib - OLD.memory_mib WHERE node = OLD.node;
  INSERT INTO node_use VALUES (NEW.node, NEW.cpus > 0, NEW.cpus, NEW.memory_mib, 0) ON CONFLICT (node) DO UPDATE SET
    instances = instances + excluded.instances, cpus = cpus + excluded.cpus, memory_mib = memory_mib + excluded.memory_mib;
END;
CREATE TRIGGER volume_use_new AFTER INSERT ON volume WHEN NEW.node <> '' BEGIN
  INSERT INTO node_use VALUES (NEW.node, 0, 0, 0, NEW.size_gib) ON CONFLICT (node) DO UPDATE SET disk_gib = disk_gib + excluded.disk_gib;
END;
CREATE TRIGGER volume_use_old AFTER DELETE ON volume WHEN OLD.node <> '' BEGIN
  UPDATE node_use SET disk_gib = disk_gib - OLD.size_gib WHERE node = OLD.node;
END;
CREATE TRIGGER volume_use_move AFTER UPDATE ON volume WHEN OLD.node <> NEW.node OR OLD.size_gib <> NEW.size_gib BEGIN
  UPDATE node_use SET disk_gib = disk_gib - OLD.size_gib WHERE node = OLD.node AND OLD.node <> '';
  INSERT INTO node_use SELECT NEW.node, 0, 0, 0, NEW.size_gib WHERE NEW.node <> '' ON CONFLICT (node) DO UPDATE SET disk_gib = disk_gib + excluded.disk_gib;
END;

CREATE TABLE image (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, public INTEGER NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX image_account ON image (account_id);
CREATE INDEX image_public ON image (id) WHERE public = 1;
CREATE INDEX image_hash ON image (hash);
CREATE TABLE image_launch (image_id TEXT NOT NULL REFERENCES image ON DELETE CASCADE, account_id TEXT NOT NULL, PRIMARY KEY (account_id, image_id)) STRICT, WITHOUT ROWID;

CREATE TABLE snapshot (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX snapshot_account ON snapshot (account_id);
CREATE INDEX snapshot_hash ON snapshot (hash);

CREATE TABLE key_pair (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (account_id, name)) STRICT;

CREATE TABLE vpc (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, is_default INTEGER NOT NULL, vni INTEGER NOT NULL UNIQUE, body TEXT NOT NULL) STRICT;
CREATE INDEX vpc_account ON vpc (account_id);
CREATE TABLE subnet (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, vpc_id TEXT NOT NULL, zone TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX subnet_account ON subnet (account_id);
CREATE INDEX subnet_vpc ON subnet (vpc_id);
CREATE TABLE gateway (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, vpc_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX gateway_account ON gateway (account_id);
CREATE TABLE route_table (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, vpc_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX route_table_account ON route_table (account_id);
CREATE TABLE acl (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, vpc_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX acl_account ON acl (account_id);

CREATE TABLE security_group (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, vpc_id TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (vpc_id, name)) STRICT;
CREATE INDEX security_group_account ON security_group (account_id);

CREATE TABLE interface (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, vpc_id TEXT NOT NULL, subnet_id TEXT NOT NULL, instance_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX interface_account ON interface (account_id, id);
CREATE INDEX interface_vpc ON interface (vpc_id);
CREATE INDEX interface_instance ON interface (instance_id) WHERE instance_id <> '';

-- Private addresses in use: no address twice in a VPC.
CREATE TABLE private_address (vpc_id TEXT NOT NULL, ip TEXT NOT NULL, subnet_id TEXT NOT NULL, interface_id TEXT NOT NULL REFERENCES interface ON DELETE CASCADE, PRIMARY KEY (vpc_id, ip)) STRICT, WITHOUT ROWID;
CREATE INDEX private_address_interface ON private_address (interface_id);
CREATE INDEX private_address_subnet ON private_address (subnet_id);
CREATE TABLE interface_group (group_id TEXT NOT NULL, interface_id TEXT NOT NULL REFERENCES interface ON DELETE CASCADE, PRIMARY KEY (group_id, interface_id)) STRICT, WITHOUT ROWID;
CREATE INDEX interface_group_interface ON interface_group (interface_id);

CREATE TABLE address (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, ip TEXT NOT NULL UNIQUE, association_id TEXT NOT NULL, interface_id TEXT NOT NULL, instance_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX address_account ON address (account_id);
CREATE INDEX address_association ON address (association_id) WHERE association_id <> '';
CREATE INDEX address_interface ON address (interface_id) WHERE interface_id <> '';

CREATE TABLE tag (account_id TEXT NOT NULL, resource_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (account_id, resource_id, key)) STRICT, WITHOUT ROWID;

CREATE TABLE node (id TEXT PRIMARY KEY, account_id TEXT NOT NULL, zone TEXT NOT NULL, body TEXT NOT NULL) STRICT;

CREATE TABLE client_token (account_id TEXT NOT NULL, action TEXT NOT NULL, token TEXT NOT NULL, hash TEXT NOT NULL, result TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (account_id, action, token)) STRICT, WITHOUT ROWID;
CREATE INDEX client_token_created ON client_token (created);

CREATE TABLE change (rev INTEGER PRIMARY KEY, account_id TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL) STRICT;

CREATE TABLE audit (at INTEGER NOT NULL, account_id TEXT NOT NULL, access_key TEXT NOT NULL, service TEXT NOT NULL, action TEXT NOT NULL, request_id TEXT NOT NULL, source TEXT NOT NULL) STRICT;
CREATE INDEX audit_at ON audit (at);

CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
