-- The whole record as lines of JSON for wardgate-verify, without the application:
--
--     psql -X -A -t -q -v ON_ERROR_STOP=1 -f deploy/record_export.sql "$DATABASE_URL" > record.jsonl
--
-- One snapshot of the database; it only reads. `manage.py record_export` writes the same lines.
\set FETCH_COUNT 2000
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

SELECT json_build_object('type', 'wardgate-record', 'v', 1, 'made_at', now(), 'scope', 'all')::text;

SELECT json_build_object('type', 'key', 'kid', kid, 'public_key', translate(encode(public_key, 'base64'), E'\n', ''),
    'created_at', created_at, 'endorsed_by', endorsed_by,
    'endorsement', translate(encode(endorsement, 'base64'), E'\n', ''))::text
FROM gateway_sessions_checkpointkey ORDER BY created_at, kid;

SELECT json_build_object('type', 'checkpoint', 'number', number, 'body', body, 'kid', kid,
    'signature', translate(encode(signature, 'base64'), E'\n', ''))::text
FROM gateway_sessions_checkpoint ORDER BY number;

SELECT json_build_object('type', 'release', 'number', number, 'body', body, 'kid', kid,
    'signature', translate(encode(signature, 'base64'), E'\n', ''))::text
FROM gateway_sessions_eventrelease ORDER BY number;

SELECT json_build_object('type', 'instance', 'id', translate(id::text, '-', ''), 'host', host, 'pid', pid,
    'started_at', started_at, 'ended_at', ended_at, 'end_reason', end_reason)::text
FROM gateway_sessions_gatewayinstance ORDER BY started_at, id;

SELECT json_build_object('type', 'event', 'instance', translate(instance_id::text, '-', ''), 'seq', seq,
    'at_us', (extract(epoch FROM at) * 1000000)::bigint, 'session', translate(session_id::text, '-', ''),
    'call', translate(call_id::text, '-', ''), 'name', name, 'body', body,
    'payload', translate(encode(payload, 'base64'), E'\n', ''), 'prev', encode(prev_hash, 'hex'),
    'hash', encode(hash, 'hex'))::text
FROM gateway_sessions_event ORDER BY instance_id, seq, at;

SELECT json_build_object('type', 'end', 'events', (SELECT count(*) FROM gateway_sessions_event),
    'checkpoints', (SELECT count(*) FROM gateway_sessions_checkpoint))::text;

COMMIT;
