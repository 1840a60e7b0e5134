-- What several trackers share. Of these tables only `files` is large. With Citus it is distributed by `content`, which is
-- why that column stands in its primary key; all others are reference tables:
--   SELECT create_reference_table(t) FROM unnest('{trackers,registrations,presence,forgotten}'::regclass[]) t;
--   SELECT create_distributed_table('files', 'content');

-- Trackers that run. One that has not been seen for some seconds is dead, and the others drop it with all its presence.
CREATE TABLE trackers (
    run bigint PRIMARY KEY,                           -- drawn at random at each start
    seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE SEQUENCE numbers;

-- Peers in namespaces, and how far each has published.
CREATE TABLE registrations (
    number bigint PRIMARY KEY DEFAULT nextval('numbers'),
    namespace text COLLATE "C" NOT NULL,
    peer bytea NOT NULL,                              -- the bytes of the PeerId
    nickname bytea NOT NULL DEFAULT '',               -- UTF-8; as bytes, since a name may hold what a text may not
    addresses bytea[] NOT NULL DEFAULT '{}',
    publishes boolean NOT NULL DEFAULT false,         -- false: registered by rendezvous only
    epoch bigint NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 0,
    shelf bigint,                                     -- which of `files` are its
    files bigint NOT NULL DEFAULT 0,
    bytes numeric NOT NULL DEFAULT 0,
    path_bytes bigint NOT NULL DEFAULT 0,
    writer bigint NOT NULL DEFAULT 0,                 -- the tracker that took the last changes
    written_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    UNIQUE (namespace, peer)
);
CREATE INDEX registrations_by_peer ON registrations (peer);
CREATE INDEX registrations_by_shelf ON registrations (shelf);

-- Who is connected to which tracker. Of a registration without a row here nothing is told.
CREATE TABLE presence (
    registration bigint NOT NULL REFERENCES registrations ON DELETE CASCADE,
    tracker bigint NOT NULL REFERENCES trackers ON DELETE CASCADE,
    PRIMARY KEY (registration, tracker)
);
CREATE INDEX presence_by_tracker ON presence (tracker);

-- Shelves that belong to nobody any more: their files are swept away some thousand at a time.
CREATE TABLE forgotten (
    shelf bigint PRIMARY KEY
);

CREATE TABLE files (
    content bytea NOT NULL,                           -- the content id; of a file that is not hashed yet, a hash of its own
    shelf bigint NOT NULL,
    place bigint NOT NULL,                            -- a hash of the path
    hashed boolean NOT NULL,
    size bigint NOT NULL,
    mtime bigint NOT NULL,
    path text COLLATE "C" NOT NULL,
    words text COLLATE "C" NOT NULL,                  -- the path as it is searched: folded, one-syllable letters apart
    PRIMARY KEY (content, shelf, place)
);
CREATE INDEX files_by_shelf ON files (shelf, path);
CREATE INDEX files_by_words ON files USING gin (words public.gin_trgm_ops);
