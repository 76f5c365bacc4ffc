package store

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// The numbered files of migrate/ are applied in order, once each, and never
// edited afterwards: the hash of an applied file is kept and compared.
//
//go:embed migrate/*.sql
var migrations embed.FS

func migrate(ctx context.Context, c *conn) error {
	if err := c.exec(ctx, `CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, hash TEXT NOT NULL) STRICT`); err != nil {
		return err
	}
	files, err := fs.Glob(migrations, "migrate/*.sql")
	if err != nil {
		return err
	}
	known := map[string]string{}
	rows, err := c.query(ctx, `SELECT name, hash FROM migration`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, hash string
		if err := rows.Scan(&name, &hash); err != nil {
			return err
		}
		known[name] = hash
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, name := range files {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		hash := hex.EncodeToString(sum[:])
		was, ok := known[name]
		delete(known, name)
		switch {
		case ok && was == hash:
			continue
		case ok:
			return fmt.Errorf("migration %s was edited after it was applied", name)
		}
		if _, err := c.c.ExecContext(ctx, "BEGIN;\n"+string(text)+"\nINSERT INTO migration VALUES ('"+name+"', '"+hash+"');\nCOMMIT"); err != nil {
			c.c.ExecContext(ctx, "ROLLBACK")
			return fmt.Errorf("apply %s: %w", name, err)
		}
	}
	for name := range known {
		return fmt.Errorf("the store was written by a newer eucad (it knows %s); start that one", name)
	}
	return nil
}
