"""The registry's tables, as the migrations that make them.  A migration once released never changes.

No row holds a plaintext byte, a code or a password.  Addresses and names stand here and nowhere
else on disk.  Statements are portable SQL: what SQLite and PostgreSQL both understand.
"""

from __future__ import annotations

from collections.abc import Sequence

MIGRATIONS: Sequence[tuple[str, str]] = (
    (
        "0001_people",
        """
        CREATE TABLE users (
            id INTEGER PRIMARY KEY,
            email TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('partner', 'member', 'group')),
            standing TEXT NOT NULL CHECK (standing IN ('invited', 'active', 'disabled', 'removed')),
            name TEXT NOT NULL,
            language TEXT NOT NULL,
            phone TEXT,
            delivery TEXT CHECK (delivery IN ('code', 'keys', 'session')),
            default_recipient TEXT,
            routes TEXT NOT NULL DEFAULT '[]',
            quota INTEGER,
            password TEXT,
            invited_by INTEGER REFERENCES users (id),
            made REAL NOT NULL,
            seen REAL
        );
        CREATE UNIQUE INDEX users_email ON users (email) WHERE standing <> 'removed';
        CREATE TABLE members (
            group_id INTEGER NOT NULL REFERENCES users (id),
            user_id INTEGER NOT NULL REFERENCES users (id),
            PRIMARY KEY (group_id, user_id)
        );
        CREATE TABLE keys (
            id INTEGER PRIMARY KEY,
            user_id INTEGER NOT NULL REFERENCES users (id),
            line TEXT NOT NULL,
            kind TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            comment TEXT NOT NULL,
            opens INTEGER NOT NULL,
            added REAL NOT NULL,
            UNIQUE (user_id, fingerprint)
        );
        """,
    ),
    (
        "0002_shipments",
        """
        CREATE TABLE shipments (
            id TEXT PRIMARY KEY,
            sender_id INTEGER NOT NULL REFERENCES users (id),
            recipient TEXT NOT NULL,
            who TEXT NOT NULL,
            folder TEXT NOT NULL,
            subject TEXT NOT NULL,
            message TEXT NOT NULL DEFAULT '',
            state TEXT NOT NULL,
            revision INTEGER NOT NULL DEFAULT 1,
            made REAL NOT NULL,
            progress REAL NOT NULL,
            sent REAL,
            expires REAL,
            ended REAL,
            erased REAL,
            cause TEXT NOT NULL DEFAULT '',
            reason TEXT NOT NULL DEFAULT ''
        );
        CREATE INDEX shipments_sender ON shipments (sender_id, who, folder);
        CREATE INDEX shipments_state ON shipments (state, progress);
        CREATE TABLE folders (
            owner_id INTEGER NOT NULL REFERENCES users (id),
            who TEXT NOT NULL,
            path TEXT NOT NULL,
            mtime REAL NOT NULL,
            mode INTEGER NOT NULL,
            PRIMARY KEY (owner_id, who, path)
        );
        CREATE TABLE files (
            id INTEGER PRIMARY KEY,
            shipment_id TEXT REFERENCES shipments (id),
            owner_id INTEGER NOT NULL REFERENCES users (id),
            who TEXT NOT NULL,
            path TEXT NOT NULL,
            shown INTEGER NOT NULL DEFAULT 1,
            state TEXT NOT NULL CHECK (state IN ('draft', 'complete', 'suspect')),
            announced INTEGER,
            size INTEGER NOT NULL DEFAULT 0,
            mtime REAL NOT NULL,
            mode INTEGER NOT NULL,
            sha256 TEXT,
            writer TEXT,
            connected TEXT,
            made REAL NOT NULL,
            progress REAL NOT NULL,
            waits INTEGER NOT NULL,
            key BLOB,
            small BLOB,
            blob TEXT,
            start INTEGER NOT NULL DEFAULT 0,
            body INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX files_view ON files (owner_id, who, path, shown);
        CREATE INDEX files_shipment ON files (shipment_id, path);
        CREATE INDEX files_waiting ON files (shipment_id) WHERE waits = 1;
        CREATE INDEX files_connected ON files (connected) WHERE connected IS NOT NULL;
        CREATE TABLE segments (
            file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            blob TEXT NOT NULL,
            start_chunk INTEGER NOT NULL,
            sealed INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (file_id, position)
        );
        """,
    ),
    (
        "0003_deliveries",
        """
        CREATE TABLE deliveries (
            id INTEGER PRIMARY KEY,
            shipment_id TEXT NOT NULL REFERENCES shipments (id),
            user_id INTEGER NOT NULL REFERENCES users (id),
            via TEXT NOT NULL DEFAULT '',
            lock TEXT NOT NULL CHECK (lock IN ('code', 'keys', 'session')),
            state TEXT NOT NULL,
            opened REAL,
            collected REAL,
            ended REAL,
            reminded INTEGER NOT NULL DEFAULT 0,
            wrong INTEGER NOT NULL DEFAULT 0,
            closed_until REAL,
            key_file BLOB,
            revision INTEGER NOT NULL DEFAULT 1,
            UNIQUE (shipment_id, user_id)
        );
        CREATE INDEX deliveries_user ON deliveries (user_id, state);
        CREATE TABLE locks (
            file_id INTEGER NOT NULL REFERENCES files (id),
            delivery_id INTEGER NOT NULL REFERENCES deliveries (id),
            kind TEXT NOT NULL CHECK (kind IN ('code', 'direct', 'keys', 'session')),
            header BLOB NOT NULL,
            sha256 TEXT,
            PRIMARY KEY (file_id, delivery_id, kind)
        );
        CREATE INDEX locks_delivery ON locks (delivery_id);
        CREATE TABLE recoveries (
            file_id INTEGER PRIMARY KEY REFERENCES files (id),
            header BLOB NOT NULL
        );
        CREATE TABLE reads (
            delivery_id INTEGER NOT NULL REFERENCES deliveries (id),
            file_id INTEGER NOT NULL REFERENCES files (id),
            form TEXT NOT NULL CHECK (form IN ('plain', 'age')),
            spans TEXT NOT NULL,
            whole INTEGER NOT NULL,
            PRIMARY KEY (delivery_id, file_id, form)
        );
        CREATE TABLE hidden (
            delivery_id INTEGER NOT NULL REFERENCES deliveries (id),
            name TEXT NOT NULL,
            PRIMARY KEY (delivery_id, name)
        );
        CREATE TABLE openings (
            delivery_id INTEGER PRIMARY KEY REFERENCES deliveries (id),
            until REAL NOT NULL,
            sealed BLOB NOT NULL
        );
        """,
    ),
    (
        "0004_notices",
        """
        CREATE TABLE notices (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            way TEXT NOT NULL,
            user_id INTEGER REFERENCES users (id),
            shipment_id TEXT REFERENCES shipments (id),
            delivery_id INTEGER REFERENCES deliveries (id),
            address TEXT NOT NULL,
            language TEXT NOT NULL,
            facts TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('due', 'carried', 'failed', 'dropped')),
            due REAL NOT NULL,
            made REAL NOT NULL,
            done REAL,
            attempts INTEGER NOT NULL DEFAULT 0,
            lease TEXT,
            leased_until REAL,
            reason TEXT NOT NULL DEFAULT '',
            reference TEXT NOT NULL DEFAULT ''
        );
        CREATE INDEX notices_due ON notices (way, due) WHERE state = 'due';
        CREATE INDEX notices_shipment ON notices (shipment_id);
        CREATE TABLE history (
            id INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            shipment_id TEXT,
            who TEXT NOT NULL,
            event TEXT NOT NULL,
            detail TEXT NOT NULL
        );
        CREATE INDEX history_shipment ON history (shipment_id, id);
        CREATE TABLE standing (
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL
        );
        """,
    ),
    (
        "0005_pages",
        """
        CREATE INDEX files_usage ON files (owner_id, shipment_id, size);
        CREATE INDEX deliveries_inbox ON deliveries (user_id, id);
        CREATE INDEX shipments_sent ON shipments (sender_id, made, id);
        CREATE INDEX shipments_kept ON shipments (sender_id, id) WHERE erased IS NULL;
        """,
    ),
    (
        # The table is made anew: SQLite can't change what CHECK allows, and nothing refers to it.
        "0006_notices",
        """
        CREATE TABLE notices_new (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            way TEXT NOT NULL,
            user_id INTEGER REFERENCES users (id),
            shipment_id TEXT REFERENCES shipments (id),
            delivery_id INTEGER REFERENCES deliveries (id),
            address TEXT NOT NULL,
            language TEXT NOT NULL,
            facts TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('due', 'carried', 'delivered', 'failed', 'dropped')),
            due REAL NOT NULL,
            made REAL NOT NULL,
            begun REAL,
            done REAL,
            attempts INTEGER NOT NULL DEFAULT 0,
            lease TEXT,
            leased_until REAL,
            digest INTEGER NOT NULL DEFAULT 0,
            envelope TEXT,
            reason TEXT NOT NULL DEFAULT '',
            reference TEXT NOT NULL DEFAULT '',
            ask_due REAL,
            asked INTEGER NOT NULL DEFAULT 0
        );
        INSERT INTO notices_new (id, kind, way, user_id, shipment_id, delivery_id, address, language, facts, state, due,
                made, begun, done, attempts, lease, leased_until, reason, reference)
            SELECT id, kind, way, user_id, shipment_id, delivery_id, address, language, facts, state, due,
                made, CASE WHEN attempts > 0 THEN made END, done, attempts, lease, leased_until, reason, reference
            FROM notices;
        DROP TABLE notices;
        ALTER TABLE notices_new RENAME TO notices;
        CREATE INDEX notices_due ON notices (way, due, id, state, lease) WHERE state = 'due' AND lease IS NULL;
        CREATE INDEX notices_leased ON notices (way, leased_until) WHERE lease IS NOT NULL;
        CREATE INDEX notices_ask ON notices (way, ask_due, id) WHERE ask_due IS NOT NULL AND lease IS NULL;
        CREATE INDEX notices_shipment ON notices (shipment_id);
        CREATE INDEX notices_reference ON notices (reference, way);
        CREATE INDEX notices_envelope ON notices (envelope) WHERE envelope IS NOT NULL;
        CREATE INDEX notices_digest ON notices (user_id, due) WHERE state = 'due' AND digest = 1;
        CREATE INDEX notices_made ON notices (made, id);
        CREATE INDEX notices_state ON notices (state, made, id);
        ALTER TABLE users ADD COLUMN timezone TEXT;
        ALTER TABLE users ADD COLUMN quiet TEXT;
        ALTER TABLE users ADD COLUMN digest TEXT;
        ALTER TABLE users ADD COLUMN phrase TEXT;
        ALTER TABLE users ADD COLUMN quota_told INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE users ADD COLUMN bounced REAL;
        ALTER TABLE users ADD COLUMN bounced_way TEXT;
        ALTER TABLE users ADD COLUMN bounced_reason TEXT NOT NULL DEFAULT '';
        """,
    ),
    (
        "0007_scans",
        """
        ALTER TABLE shipments ADD COLUMN scanned INTEGER NOT NULL DEFAULT 0;
        """,
    ),
    (
        # What lets people in.  Of tokens only the SHA-256 is kept: 160 random bits need no salt and nothing slower.
        # `asked` and `name` are hashes of an address as it was typed, so that unknown ones have rows like known ones.
        "0008_accounts",
        """
        CREATE TABLE links (
            token TEXT PRIMARY KEY,
            kind TEXT NOT NULL CHECK (kind IN ('invited', 'password')),
            user_id INTEGER REFERENCES users (id),
            asked TEXT NOT NULL,
            notice_id TEXT NOT NULL,
            made REAL NOT NULL,
            expires REAL NOT NULL,
            used REAL
        );
        CREATE INDEX links_user ON links (user_id, kind) WHERE used IS NULL;
        CREATE INDEX links_asked ON links (asked, kind, made);
        CREATE INDEX links_expires ON links (expires);
        CREATE TABLE tries (
            name TEXT NOT NULL,
            at REAL NOT NULL
        );
        CREATE INDEX tries_name ON tries (name, at);
        CREATE INDEX tries_at ON tries (at);
        CREATE TABLE locked (
            name TEXT PRIMARY KEY,
            until REAL NOT NULL
        );
        CREATE TABLE totp (
            user_id INTEGER PRIMARY KEY REFERENCES users (id),
            secret BLOB,
            since REAL,
            step INTEGER NOT NULL DEFAULT 0,
            pending BLOB,
            begun REAL,
            allowed_until REAL
        );
        CREATE TABLE recovery_codes (
            user_id INTEGER NOT NULL REFERENCES users (id),
            code TEXT NOT NULL,
            used REAL,
            PRIMARY KEY (user_id, code)
        );
        CREATE TABLE confirmations (
            id TEXT PRIMARY KEY,
            user_id INTEGER NOT NULL REFERENCES users (id),
            what TEXT NOT NULL,
            wish TEXT NOT NULL,
            phone TEXT NOT NULL,
            digits BLOB NOT NULL,
            notice_id TEXT NOT NULL,
            made REAL NOT NULL,
            expires REAL NOT NULL,
            wrong INTEGER NOT NULL DEFAULT 0,
            used REAL
        );
        CREATE INDEX confirmations_user ON confirmations (user_id, made);
        CREATE INDEX confirmations_made ON confirmations (made);
        CREATE TABLE visits (
            token TEXT PRIMARY KEY,
            user_id INTEGER NOT NULL REFERENCES users (id),
            stage TEXT NOT NULL CHECK (stage IN ('half', 'whole')),
            made REAL NOT NULL,
            seen REAL NOT NULL,
            confirmed REAL
        );
        CREATE INDEX visits_user ON visits (user_id);
        CREATE INDEX visits_seen ON visits (seen);
        """,
    ),
    (
        # `others` are the addresses after the first, parted by blanks, which no address has; `invites` says by which
        # phone those are to be invited who are not registered, and is emptied when that is done.
        "0009_composing",
        """
        ALTER TABLE shipments ADD COLUMN composing INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE shipments ADD COLUMN others TEXT NOT NULL DEFAULT '';
        ALTER TABLE shipments ADD COLUMN invites TEXT NOT NULL DEFAULT '';
        ALTER TABLE shipments ADD COLUMN minimum TEXT CHECK (minimum IN ('code', 'keys', 'session'));
        CREATE INDEX shipments_composing ON shipments (sender_id, made) WHERE composing = 1;
        """,
    ),
    (
        # Locks belong to a parcel, not to a delivery, so that they can be written before there is one.
        "0010_lots",
        """
        CREATE TABLE locks_new (
            parcel TEXT NOT NULL,
            file_id INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('code', 'direct', 'keys', 'session')),
            header BLOB NOT NULL,
            sha256 TEXT,
            PRIMARY KEY (parcel, file_id, kind)
        );
        INSERT INTO locks_new (parcel, file_id, kind, header, sha256)
            SELECT CAST(delivery_id AS TEXT), file_id, kind, header, sha256 FROM locks;
        DROP TABLE locks;
        ALTER TABLE locks_new RENAME TO locks;
        ALTER TABLE deliveries ADD COLUMN parcel TEXT NOT NULL DEFAULT '';
        UPDATE deliveries SET parcel = CAST(id AS TEXT);
        CREATE TABLE lots (
            id TEXT PRIMARY KEY,
            made REAL NOT NULL,
            pack TEXT,
            shipment_id TEXT
        );
        CREATE TABLE berths (
            lot TEXT NOT NULL REFERENCES lots (id),
            file_id INTEGER NOT NULL,
            start INTEGER,
            recovery BLOB,
            PRIMARY KEY (lot, file_id)
        );
        """,
    ),
    (
        "0011_invitees",
        """
        CREATE INDEX users_invited_by ON users (invited_by, made) WHERE invited_by IS NOT NULL;
        """,
    ),
    (
        # `beat` is when its writer last said that the file grows, on the clock that nobody can set; 0 while it is put
        # away, and NULL until an OPEN that may resume has written.  `wanted` says that another process asks for it.
        "0012_workers",
        """
        ALTER TABLE files ADD COLUMN beat REAL;
        ALTER TABLE files ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX files_writer ON files (writer) WHERE writer IS NOT NULL;
        CREATE INDEX files_wanted ON files (wanted) WHERE wanted = 1;
        CREATE TABLE guests (
            id TEXT PRIMARY KEY,
            worker TEXT NOT NULL,
            user_id INTEGER NOT NULL REFERENCES users (id)
        );
        CREATE INDEX guests_user ON guests (user_id, worker);
        CREATE INDEX guests_worker ON guests (worker);
        """,
    ),
    (
        # How many bytes of a segment's blob are known to be synced: whoever takes it up need not verify those.
        "0013_durable",
        """
        ALTER TABLE segments ADD COLUMN durable INTEGER NOT NULL DEFAULT 0;
        """,
    ),
    (
        # What a room, a step or a sweep looks for has an index of its own, so that it costs what there is of it, and
        # not what there is of everything.  `listed` is 0 once a delivery's shipment has ended: in no inbox any more.
        "0014_size",
        """
        ALTER TABLE deliveries ADD COLUMN listed INTEGER NOT NULL DEFAULT 1;
        UPDATE deliveries SET listed = 0 WHERE shipment_id IN (SELECT id FROM shipments WHERE state <> 'waiting');
        CREATE INDEX deliveries_listed ON deliveries (user_id, id) WHERE listed = 1;
        CREATE INDEX deliveries_over ON deliveries (listed, ended, shipment_id) WHERE listed = 1 AND ended IS NOT NULL;
        CREATE INDEX reads_file ON reads (file_id);
        CREATE INDEX notices_delivery ON notices (delivery_id);
        CREATE INDEX members_user ON members (user_id, group_id);
        CREATE INDEX users_groups ON users (email) WHERE kind = 'group' AND standing <> 'removed';
        DROP INDEX files_connected;
        CREATE INDEX files_connected ON files (connected, shipment_id) WHERE connected IS NOT NULL;
        CREATE INDEX shipments_expires ON shipments (state, expires, id) WHERE state = 'waiting';
        CREATE INDEX shipments_unerased ON shipments (state, ended) WHERE erased IS NULL AND ended IS NOT NULL;
        CREATE INDEX files_suspect ON files (shipment_id) WHERE state = 'suspect';
        CREATE INDEX files_blob ON files (blob) WHERE blob IS NOT NULL;
        CREATE INDEX files_shown ON files (owner_id, who, path, id) WHERE shown = 1;
        CREATE INDEX files_old ON files (made, id) WHERE shown = 1;
        DROP INDEX files_view;
        """,
    ),
    (
        # How long the pages about a shipment are; from its dispatch on.  Whatever changes what they say makes `edition`
        # empty and counts `turn`, and no program that writes can forget to.
        "0015_receipts",
        """
        CREATE TABLE receipts (
            shipment_id TEXT PRIMARY KEY,
            turn INTEGER NOT NULL DEFAULT 1,
            edition TEXT NOT NULL DEFAULT '',
            text INTEGER,
            json INTEGER,
            at REAL
        );
        INSERT INTO receipts (shipment_id)
            SELECT id FROM shipments WHERE state NOT IN ('dropping', 'settling', 'held');
        CREATE INDEX receipts_edition ON receipts (edition);
        CREATE TRIGGER receipts_shipment AFTER UPDATE
            OF state, recipient, others, subject, reason, sent, expires, ended ON shipments
            WHEN NEW.state NOT IN ('dropping', 'settling', 'held') BEGIN
            INSERT INTO receipts (shipment_id) VALUES (NEW.id)
                ON CONFLICT (shipment_id) DO UPDATE SET turn = turn + 1, edition = '';
        END;
        CREATE TRIGGER receipts_begun AFTER INSERT ON shipments
            WHEN NEW.state NOT IN ('dropping', 'settling', 'held') BEGIN
            INSERT INTO receipts (shipment_id) VALUES (NEW.id);
        END;
        CREATE TRIGGER receipts_history AFTER INSERT ON history BEGIN
            UPDATE receipts SET turn = turn + 1, edition = '' WHERE shipment_id = NEW.shipment_id;
        END;
        CREATE TRIGGER receipts_delivery AFTER INSERT ON deliveries BEGIN
            UPDATE receipts SET turn = turn + 1, edition = '' WHERE shipment_id = NEW.shipment_id;
        END;
        CREATE TRIGGER receipts_delivery_changed AFTER UPDATE OF state, opened, collected, ended ON deliveries BEGIN
            UPDATE receipts SET turn = turn + 1, edition = '' WHERE shipment_id = NEW.shipment_id;
        END;
        CREATE TRIGGER receipts_notice AFTER INSERT ON notices BEGIN
            UPDATE receipts SET turn = turn + 1, edition = '' WHERE shipment_id = NEW.shipment_id;
        END;
        CREATE TRIGGER receipts_notice_changed AFTER UPDATE OF state, reason ON notices BEGIN
            UPDATE receipts SET turn = turn + 1, edition = '' WHERE shipment_id = NEW.shipment_id;
        END;
        """,
    ),
    (
        # How many bytes a sender's files take up: drafts, drops and what is sent and not yet erased.  It is asked at
        # each OPEN, and so is not added up then.  A file without a shipment was thrown away as it came.
        "0016_usages",
        """
        ALTER TABLE users ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
        UPDATE users SET used = (
            SELECT COALESCE(SUM(size), 0) FROM files WHERE owner_id = users.id AND shipment_id IN (
                SELECT id FROM shipments WHERE sender_id = users.id AND erased IS NULL));
        DROP INDEX files_usage;
        CREATE TRIGGER usages_file AFTER INSERT ON files WHEN NEW.size > 0 BEGIN
            UPDATE users SET used = used + NEW.size WHERE id = NEW.owner_id
                AND EXISTS (SELECT 1 FROM shipments WHERE id = NEW.shipment_id AND erased IS NULL);
        END;
        CREATE TRIGGER usages_file_gone AFTER DELETE ON files WHEN OLD.size > 0 BEGIN
            UPDATE users SET used = used - OLD.size WHERE id = OLD.owner_id
                AND EXISTS (SELECT 1 FROM shipments WHERE id = OLD.shipment_id AND erased IS NULL);
        END;
        CREATE TRIGGER usages_file_changed AFTER UPDATE OF size, shipment_id ON files
            WHEN NEW.size <> OLD.size OR NEW.shipment_id IS NOT OLD.shipment_id BEGIN
            UPDATE users SET used = used - OLD.size WHERE id = OLD.owner_id
                AND EXISTS (SELECT 1 FROM shipments WHERE id = OLD.shipment_id AND erased IS NULL);
            UPDATE users SET used = used + NEW.size WHERE id = NEW.owner_id
                AND EXISTS (SELECT 1 FROM shipments WHERE id = NEW.shipment_id AND erased IS NULL);
        END;
        CREATE TRIGGER usages_erased AFTER UPDATE OF erased ON shipments
            WHEN OLD.erased IS NULL AND NEW.erased IS NOT NULL BEGIN
            UPDATE users SET used = used - (SELECT COALESCE(SUM(size), 0) FROM files WHERE shipment_id = NEW.id)
                WHERE id = NEW.sender_id;
        END;
        """,
    ),
    (
        # SQLite gives the id of the newest row anew once that is deleted.  What is still to be done for a file that was
        # taken away, in whichever process, must not meet another by its number.
        "0017_spent",
        """
        CREATE TABLE spent (files INTEGER NOT NULL);
        INSERT INTO spent VALUES (0);
        CREATE TRIGGER spent_file AFTER DELETE ON files
            WHEN OLD.id > (SELECT COALESCE(MAX(id), 0) FROM files) BEGIN
            UPDATE spent SET files = MAX(files, OLD.id);
        END;
        """,
    ),
)
