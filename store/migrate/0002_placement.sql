-- What happened to an instance, oldest first: lines of JSON, bounded.
ALTER TABLE instance ADD COLUMN history TEXT NOT NULL DEFAULT '';

-- Placement reads what changed of nodes and their use since it last looked:
-- seq grows with each change of either. turn is seq as it was when the node
-- was last given a new instance.
ALTER TABLE node_use ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node_use ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
CREATE INDEX node_use_seq ON node_use (seq);
INSERT INTO node_use (node, instances, cpus, memory_mib, disk_gib) SELECT id, 0, 0, 0, 0 FROM node WHERE true ON CONFLICT (node) DO NOTHING;

DROP TRIGGER instance_use_new;
DROP TRIGGER instance_use_old;
DROP TRIGGER instance_use_move;
DROP TRIGGER volume_use_new;
DROP TRIGGER volume_use_old;
DROP TRIGGER volume_use_move;

-- (A SELECT in place of these VALUES would be kept in a table of its own for each row.)
CREATE TRIGGER instance_use_new AFTER INSERT ON instance WHEN NEW.cpus > 0 BEGIN
  INSERT INTO node_use (node, instances, cpus, memory_mib, disk_gib, seq)
    VALUES (NEW.node, 1, NEW.cpus, NEW.memory_mib, 0, COALESCE((SELECT MAX(seq) FROM node_use), 0) + 1)
    ON CONFLICT (node) DO UPDATE SET instances = instances + 1, cpus = cpus + excluded.cpus, memory_mib = memory_mib + excluded.memory_mib,
      seq = excluded.seq, turn = excluded.seq;
END;
CREATE TRIGGER instance_use_old AFTER DELETE ON instance WHEN OLD.cpus > 0 BEGIN
  UPDATE node_use SET instances = instances - 1, cpus = cpus - OLD.cpus, memory_mib = memory_mib - OLD.memory_mib,
    seq = (SELECT MAX(seq) FROM node_use) + 1 WHERE node = OLD.node;
END;
CREATE TRIGGER instance_use_move AFTER UPDATE ON instance WHEN OLD.node <> NEW.node OR OLD.cpus <> NEW.cpus OR OLD.memory_mib <> NEW.memory_mib BEGIN
  UPDATE node_use SET instances = instances - (OLD.cpus > 0), cpus = cpus - OLD.cpus, memory_mib = memory_mib - OLD.memory_mib,
    seq = (SELECT MAX(seq) FROM node_use) + 1 WHERE node = OLD.node;
  INSERT INTO node_use (node, instances, cpus, memory_mib, disk_gib, seq)
    VALUES (NEW.node, NEW.cpus > 0, NEW.cpus, NEW.memory_mib, 0, COALESCE((SELECT MAX(seq) FROM node_use), 0) + 1)
    ON CONFLICT (node) DO UPDATE SET instances = instances + excluded.instances, cpus = cpus + excluded.cpus,
      memory_mib = memory_mib + excluded.memory_mib, seq = excluded.seq;
END;
CREATE TRIGGER volume_use_new AFTER INSERT ON volume WHEN NEW.node <> '' BEGIN
  INSERT INTO node_use (node, instances, cpus, memory_mib, disk_gib, seq)
    VALUES (NEW.node, 0, 0, 0, NEW.size_gib, COALESCE((SELECT MAX(seq) FROM node_use), 0) + 1)
    ON CONFLICT (node) DO UPDATE SET disk_gib = disk_gib + excluded.disk_gib, seq = excluded.seq;
END;
CREATE TRIGGER volume_use_old AFTER DELETE ON volume WHEN OLD.node <> '' BEGIN
  UPDATE node_use SET disk_gib = disk_gib - OLD.size_gib, seq = (SELECT MAX(seq) FROM node_use) + 1 WHERE node = OLD.node;
END;
CREATE TRIGGER volume_use_move AFTER UPDATE ON volume WHEN OLD.node <> NEW.node OR OLD.size_gib <> NEW.size_gib BEGIN
  UPDATE node_use SET disk_gib = disk_gib - OLD.size_gib, seq = (SELECT MAX(seq) FROM node_use) + 1 WHERE node = OLD.node AND OLD.node <> '';
  INSERT INTO node_use (node, instances, cpus, memory_mib, disk_gib, seq)
    SELECT NEW.node, 0, 0, 0, NEW.size_gib, COALESCE((SELECT MAX(seq) FROM node_use), 0) + 1 WHERE NEW.node <> ''
    ON CONFLICT (node) DO UPDATE SET disk_gib = disk_gib + excluded.disk_gib, seq = excluded.seq;
END;

CREATE TRIGGER node_new AFTER INSERT ON node BEGIN
  INSERT INTO node_use (node, instances, cpus, memory_mib, disk_gib, seq)
    VALUES (NEW.id, 0, 0, 0, 0, COALESCE((SELECT MAX(seq) FROM node_use), 0) + 1)
    ON CONFLICT (node) DO UPDATE SET seq = excluded.seq;
END;
CREATE TRIGGER node_change AFTER UPDATE ON node BEGIN
  UPDATE node_use SET seq = (SELECT MAX(seq) FROM node_use) + 1 WHERE node = NEW.id;
END;
CREATE TRIGGER node_old AFTER DELETE ON node BEGIN
  UPDATE node_use SET seq = (SELECT MAX(seq) FROM node_use) + 1 WHERE node = OLD.id;
END;
