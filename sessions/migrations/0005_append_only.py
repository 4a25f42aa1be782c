"""Partition the events by month, and let the database itself refuse to change or delete what was recorded.

Rows that are there already stay where they are: their table becomes the first partition, without being rewritten.
The functions run as the owner of the tables, so that the role of the application can have partitions made ahead, and
only the role for retention can let one go.
"""

from django.db import migrations, models

PARTITIONED = """
ALTER TABLE gateway_sessions_event RENAME TO gateway_sessions_event_first;
ALTER TABLE gateway_sessions_event_first ALTER COLUMN id DROP IDENTITY IF EXISTS;
ALTER TABLE gateway_sessions_event_first DROP CONSTRAINT gateway_sessions_event_pkey;
ALTER TABLE gateway_sessions_event_first DROP CONSTRAINT event_seq_once_per_instance;
DROP INDEX event_of_session;
CREATE SEQUENCE gateway_sessions_event_id_seq AS bigint;
SELECT setval('gateway_sessions_event_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM gateway_sessions_event_first), false);
CREATE TABLE gateway_sessions_event (LIKE gateway_sessions_event_first) PARTITION BY RANGE (at);
ALTER TABLE gateway_sessions_event ALTER COLUMN id SET DEFAULT nextval('gateway_sessions_event_id_seq');
ALTER SEQUENCE gateway_sessions_event_id_seq OWNED BY gateway_sessions_event.id;
ALTER TABLE gateway_sessions_event ADD PRIMARY KEY (id, at);
ALTER TABLE gateway_sessions_event ADD CONSTRAINT event_seq_once_per_instance UNIQUE (instance_id, seq, at);
CREATE INDEX event_of_session ON gateway_sessions_event (session_id, id);
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM gateway_sessions_event_first) THEN
        EXECUTE format('ALTER TABLE gateway_sessions_event ATTACH PARTITION gateway_sessions_event_first '
            'FOR VALUES FROM (MINVALUE) TO (%L)',
            (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC');
    ELSE
        DROP TABLE gateway_sessions_event_first;
    END IF;
END
$$;
CREATE TABLE gateway_sessions_event_default PARTITION OF gateway_sessions_event DEFAULT;
"""

REFUSALS = """
CREATE FUNCTION wardgate_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the record is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
"""

GUARD = """
CREATE TRIGGER wardgate_append_only BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION wardgate_refuse_change();
CREATE TRIGGER wardgate_no_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION wardgate_refuse_change();
"""

NO_TRUNCATE = """
CREATE TRIGGER wardgate_no_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION wardgate_refuse_change();
"""

# A table is made, guarded and filled by itself and only then attached: that needs no lock which inserts wait for.
MAKE = """
CREATE FUNCTION wardgate_event_partition_make(month date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '2s' AS $$
DECLARE
    begins timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    ends timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    made text := 'gateway_sessions_event_' || to_char(month, 'YYYY_MM');
    has_strays boolean;
    grantee text;
BEGIN
    PERFORM pg_advisory_xact_lock(x'57475054'::bigint);
    IF to_regclass(made) IS NOT NULL
       OR EXISTS (SELECT 1 FROM gateway_sessions_eventrelease r WHERE r.partition = made)
    THEN
        RETURN false;
    END IF;
    SELECT EXISTS (SELECT 1 FROM gateway_sessions_event_default e WHERE e.at >= begins AND e.at < ends) INTO has_strays;
    IF NOT has_strays AND (begins > now() + interval '14 months' OR ends < now() - interval '1 month') THEN
        RAISE EXCEPTION 'partitions are made for the months around now';
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE gateway_sessions_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', made);
    -- Whatever default privileges give: a partition is reached through its table alone.
    FOR grantee IN SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(a.grantee::regrole::text) END
        FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass(made) AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %I FROM %s', made, grantee);
    END LOOP;
    EXECUTE format('CREATE TRIGGER wardgate_no_truncate BEFORE TRUNCATE ON %I '
        'FOR EACH STATEMENT EXECUTE FUNCTION wardgate_refuse_change()', made);
    IF has_strays THEN
        -- They came while their month had no partition. They move as they are; nobody sees a moment without them.
        LOCK TABLE gateway_sessions_event IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('INSERT INTO %I SELECT * FROM gateway_sessions_event_default WHERE at >= %L AND at < %L '
            'ORDER BY id', made, begins, ends);
        ALTER TABLE gateway_sessions_event_default DISABLE TRIGGER wardgate_append_only;
        DELETE FROM gateway_sessions_event_default e WHERE e.at >= begins AND e.at < ends;
        ALTER TABLE gateway_sessions_event_default ENABLE TRIGGER wardgate_append_only;
    END IF;
    BEGIN
        EXECUTE format('ALTER TABLE gateway_sessions_event ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            made, begins, ends);
    EXCEPTION WHEN invalid_object_definition THEN
        -- The first partition, of the rows that were here before there were months, covers it.
        EXECUTE format('DROP TABLE %I', made);
        RETURN false;
    END;
    RETURN true;
END
$$;
"""

RELEASE = """
CREATE FUNCTION wardgate_event_partition_release(partition text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '300ms' AS $$
DECLARE
    stated bigint;
    present bigint;
BEGIN
    SELECT r.events INTO stated FROM gateway_sessions_eventrelease r
        WHERE r.partition = wardgate_event_partition_release.partition;
    IF stated IS NULL THEN
        RAISE EXCEPTION 'no signed release names this partition' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF partition = 'gateway_sessions_event_default' OR NOT EXISTS (
        SELECT 1 FROM pg_inherits WHERE inhparent = 'gateway_sessions_event'::regclass
            AND inhrelid = to_regclass(quote_ident(partition)))
    THEN
        RETURN 0;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', partition);
    EXECUTE format('SELECT count(*) FROM %I', partition) INTO present;
    IF present <> stated THEN
        RAISE EXCEPTION 'the partition has % events and its release states %', present, stated
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('ALTER TABLE gateway_sessions_event DETACH PARTITION %I', partition);
    EXECUTE format('DROP TABLE %I', partition);
    RETURN present;
END
$$;
REVOKE ALL ON FUNCTION wardgate_event_partition_release(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION wardgate_event_partition_make(date) FROM PUBLIC;
"""

FIRST_MONTHS = """
SELECT wardgate_event_partition_make((date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
    FROM generate_series(0, 2) n;
"""

GUARD_FIRST = """
DO $$
BEGIN
    IF to_regclass('gateway_sessions_event_first') IS NOT NULL THEN
        CREATE TRIGGER wardgate_no_truncate BEFORE TRUNCATE ON gateway_sessions_event_first
            FOR EACH STATEMENT EXECUTE FUNCTION wardgate_refuse_change();
    END IF;
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("gateway_sessions", "0004_checkpoints")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(PARTITIONED)],
            state_operations=[
                migrations.RemoveConstraint("event", "event_seq_once_per_instance"),
                migrations.AddConstraint(
                    "event",
                    models.UniqueConstraint(fields=("instance", "seq", "at"), name="event_seq_once_per_instance"),
                ),
            ],
        ),
        migrations.RunSQL(REFUSALS),
        *[
            migrations.RunSQL(GUARD.format(table=table))
            for table in ("gateway_sessions_event", "gateway_sessions_checkpoint", "gateway_sessions_eventrelease")
        ],
        migrations.RunSQL(NO_TRUNCATE.format(table="gateway_sessions_event_default")),
        migrations.RunSQL(GUARD_FIRST),
        migrations.RunSQL(MAKE),
        migrations.RunSQL(RELEASE),
        migrations.RunSQL(FIRST_MONTHS),
    ]
