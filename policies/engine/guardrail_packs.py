"""Ready-made guardrails for what goes wrong most often, each with cases that show what it does. Pure data.

A pack is a place to begin: its rules are rows like any other once they are installed, and are best watched in observe
mode before they decide. Names of tools differ from server to server; the globs are those of well-known servers, so look
whether they fit yours. Conditions look at every text of the arguments and not at arguments of one name, because nobody
promises that `sql` is called `sql`; what a client answers to a question of the tool (`request.input`) counts as well.

`$name` in a condition stands for a parameter of the pack, which has a default and is checked before it is put there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from .facts import Past

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
DAYTIME: Final = 1_773_828_000.0
"""Wednesday, 2026-03-18, 10:00 UTC: when a case happens that says nothing else."""


def _nothing() -> Mapping[str, Any]:
    return _NOTHING


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number, zone or name that an installation may choose. `kind` is number, zone or name."""

    name: str
    kind: str
    default: str
    help: str


@dataclass(frozen=True, slots=True)
class PackRule:
    """One guardrail of a pack."""

    name: str
    effect: str
    reason: str
    names: tuple[str, ...] = ("*",)
    methods: tuple[str, ...] = ("tools/call",)
    condition: str = ""
    annotations: Mapping[str, bool] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class PackCase:
    """What a pack says of a call by somebody who may call everything: the effect, and the rule that decides."""

    tool: str
    arguments: Mapping[str, Any]
    effect: str
    rule: str = ""
    history: tuple[Past, ...] = ()
    labels: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=_nothing)
    now: float = DAYTIME
    method: str = "tools/call"


@dataclass(frozen=True, slots=True)
class GuardrailPack:
    """Guardrails that belong together."""

    id: str
    title: str
    summary: str
    rules: tuple[PackRule, ...]
    cases: tuple[PackCase, ...]
    parameters: tuple[Parameter, ...] = ()


def _any_case(*words: str) -> tuple[str, ...]:
    """Return globs of names that have one of `words` in them, as `run_sql`, `runSql`, `RunSql` and `RUN_SQL` do."""
    found: dict[str, None] = {}
    for word in words:
        pascal = word.title().replace("_", "")
        found |= dict.fromkeys((word, pascal, pascal[:1].lower() + pascal[1:], word.upper()))
    return tuple(f"*{form}*" for form in found)


_SQL_TOOLS = _any_case("sql", "query", "statement", "database", "execute_ddl", "postgres", "mysql", "sqlite")
# A text can only change something with one of these words in it; the others are ids, names and notes, and are not read.
_MAY_CHANGE = (
    "(?i)drop|truncate|delete|update|insert|alter|create|grant|revoke|merge|replace|upsert|rename|copy|load|exec|call|"
    "prepare|do[^a-z]|set[^a-z]|vacuum|reindex|cluster|attach|detach|kill|shutdown|backup|restore|pragma|begin|declare|"
    "into|outfile|xp_|sp_|pg_|lo_|dblink|openrowset|openquery|refresh|comment|lock|import|handler|flush|"
    "reset|purge|[!\\\\]"
)
_SQL_DESTROYS = (
    '["drop", "truncate", "alter", "grant", "revoke", "copy", "load", "kill", "function", "pragma", "other"]'
)

DESTRUCTIVE_SQL: Final = GuardrailPack(
    id="destructive-sql",
    title="Destructive SQL",
    summary="Stops SQL that destroys or reaches outside the database; holds what else changes something.",
    rules=(
        PackRule(
            name="SQL that destroys",
            effect="deny",
            names=_SQL_TOOLS,
            condition=f"(texts(args) + texts(request.input)).exists(t, t.matches(r'{_MAY_CHANGE}') && "
            f"sql.statements(t).exists(s, "
            f"s.kinds.exists(k, k in {_SQL_DESTROYS}) || "
            's.kinds.exists(k, k in ["delete", "update"]) && !s.has_where))',
            reason="this SQL destroys data, changes rights or reaches outside the database",
        ),
        PackRule(
            name="SQL that changes data",
            effect="hold",
            names=_SQL_TOOLS,
            condition=f"(texts(args) + texts(request.input)).exists(t, t.matches(r'{_MAY_CHANGE}') && "
            f"!sql.statements(t).all(s, "
            f"s.is_read_only))",
            reason="this SQL changes data",
        ),
    ),
    cases=(
        PackCase("run_sql", {"sql": "select * from users where id = 7"}, "allow"),
        PackCase("run_sql", {"sql": "select count(*) from t", "project_id": "my-project-7"}, "allow"),
        PackCase("executeQuery", {"query": "select 1; drop table users"}, "deny", "SQL that destroys"),
        PackCase("query", {"q": "with x as (delete from users returning 1) select 1"}, "deny", "SQL that destroys"),
        PackCase("query", {"q": "delete from users where 1 = 1"}, "deny", "SQL that destroys"),
        PackCase("query", {"input": {"statements": ["select 1", "truncate t"]}}, "deny", "SQL that destroys"),
        PackCase("query", {"q": "do $$ begin execute 'dr' || 'op table t'; end $$"}, "deny", "SQL that destroys"),
        PackCase("query", {"q": "select pg_read_file('/etc/passwd')"}, "deny", "SQL that destroys"),
        PackCase("query", {"q": "delete from users where id = 7"}, "hold", "SQL that changes data"),
        PackCase("query", {"q": "insert into t values (1)"}, "hold", "SQL that changes data"),
        PackCase("get_weather", {"q": "drop table users"}, "allow"),
    ),
)

MASS_EXPORT: Final = GuardrailPack(
    id="mass-export",
    title="Mass export",
    summary="Holds calls that ask for very many rows at once, and tools that export, dump or back up.",
    parameters=(Parameter("rows", "number", "1000", "The most rows that a call may ask for."),),
    rules=(
        PackRule(
            name="Export tools",
            effect="hold",
            names=_any_case("export", "dump", "download_all", "backup", "bulk_read", "unload"),
            reason="this exports data in bulk",
        ),
        PackRule(
            name="Very many rows",
            effect="hold",
            condition='["limit", "page_size", "pageSize", "per_page", "perPage", "first", "max_results", '
            '"maxResults", "count", '
            '"top", "size", "rows", "num_results"].exists(k, k in args && int(args[k]) > $rows)',
            reason="this asks for very many rows at once",
        ),
        PackRule(
            name="SQL without a limit",
            effect="hold",
            names=_SQL_TOOLS,
            condition="(texts(args) + texts(request.input)).exists(t, t.matches(r'(?i)select|copy|unload|"
            "table|values|outfile|export|"
            "[!\\\\]') && "
            'sql.statements(t).exists(s, s.kinds.exists(k, k in ["copy", "load"]) || "select" in s.kinds && '
            "size(s.tables) > 0 && (s.limit > $rows || !s.has_limit && !s.has_where)))",
            reason="this reads a whole table; ask for certain rows, or set a LIMIT",
        ),
    ),
    cases=(
        PackCase("export_customers", {}, "hold", "Export tools"),
        PackCase("dumpDatabase", {}, "hold", "Export tools"),
        PackCase("search", {"limit": 50}, "allow"),
        PackCase("search", {"limit": 100_000}, "hold", "Very many rows"),
        PackCase("search", {"page_size": "5000"}, "hold", "Very many rows"),
        PackCase("run_sql", {"sql": "select * from users"}, "hold", "SQL without a limit"),
        PackCase("run_sql", {"sql": "select * from users limit 1000000"}, "hold", "SQL without a limit"),
        PackCase("run_sql", {"sql": "select * from users where 1 = 1"}, "hold", "SQL without a limit"),
        PackCase("run_sql", {"sql": "copy users to stdout"}, "hold", "SQL without a limit"),
        PackCase("run_sql", {"sql": "select * from users limit 10"}, "allow"),
        PackCase("run_sql", {"sql": "select * from users where id = 7"}, "allow"),
    ),
)

_KUBERNETES_TOOLS = _any_case("kubectl", "k8s", "kubernetes", "helm", "kube")
_KUBERNETES_RUNS = '["exec", "attach", "cp", "debug", "port-forward", "proxy", "run"]'
_KUBERNETES_CHANGES = (
    '["delete", "drain", "cordon", "taint", "evict", "replace", "patch", "edit", "apply", "create", "scale", '
    '"rollout", "set", '
    '"uninstall", "upgrade", "install", "rollback", "label", "annotate"]'
)


def _kubernetes(verbs: str) -> str:
    return (
        f"(texts(args) + texts(request.input)).exists(t, shell.commands(t).exists(c, c.name in {verbs} || c.name in "
        f'["kubectl", "oc", "helm", "k"] && c.arguments.exists(a, a in {verbs})))'
    )


KUBERNETES: Final = GuardrailPack(
    id="kubernetes",
    title="Kubernetes: exec and delete",
    summary="Stops running commands in pods, and holds what changes or deletes resources.",
    rules=(
        PackRule(
            name="Commands in pods",
            effect="deny",
            names=_any_case(
                "pods_exec", "pod_exec", "exec_in_pod", "pods_run", "exec_pod", "port_forward", "kubectl_exec"
            ),
            reason="commands in pods are not run through tools",
        ),
        PackRule(
            name="kubectl that runs commands",
            effect="deny",
            names=_KUBERNETES_TOOLS,
            condition=_kubernetes(_KUBERNETES_RUNS),
            reason="commands in pods are not run through tools",
        ),
        PackRule(
            name="Deleting resources",
            effect="hold",
            names=_any_case(
                "pods_delete",
                "resources_delete",
                "delete_pod",
                "delete_resource",
                "delete_namespace",
                "delete_deployment",
                "kubectl_delete",
                "drain",
                "helm_uninstall",
                "resources_create_or_update",
                "kubectl_apply",
                "kubectl_patch",
                "resources_scale",
                "kubectl_scale",
            ),
            reason="this changes or deletes resources of a cluster",
        ),
        PackRule(
            name="kubectl that changes",
            effect="hold",
            names=_KUBERNETES_TOOLS,
            condition=_kubernetes(_KUBERNETES_CHANGES),
            reason="this changes or deletes resources of a cluster",
        ),
    ),
    cases=(
        PackCase("pods_exec", {"name": "web", "command": ["ls"]}, "deny", "Commands in pods"),
        PackCase("kubectl", {"command": "kubectl exec web -- ls"}, "deny", "kubectl that runs commands"),
        PackCase("kubectl", {"args": ["-n", "prod", "exec", "web"]}, "deny", "kubectl that runs commands"),
        PackCase("kubectl", {"command": "get pods; $X"}, "deny", "kubectl that runs commands"),
        PackCase("pods_delete", {"name": "web"}, "hold", "Deleting resources"),
        PackCase("kubectl", {"command": "kubectl delete ns prod"}, "hold", "kubectl that changes"),
        PackCase("kubectl", {"args": ["delete", "ns", "prod"]}, "hold", "kubectl that changes"),
        PackCase("kubectl", {"command": "kubectl get pods -n prod"}, "allow"),
        PackCase("pods_list", {"namespace": "prod"}, "allow"),
    ),
)

_SHELL_TOOLS = (
    *_any_case(
        "shell", "bash", "terminal", "run_command", "execute_command", "run_process", "start_process", "powershell"
    ),
    *("exec", "execute", "run", "command", "cmd"),
)

SHELL: Final = GuardrailPack(
    id="shell",
    title="Shell commands",
    summary="Stops commands that wreck a machine, and holds those that gain rights or talk to other machines.",
    rules=(
        PackRule(
            name="Commands that wreck",
            effect="deny",
            names=_SHELL_TOOLS,
            condition="(texts(args) + texts(request.input)).exists(t, shell.commands(t).exists(c, "
            'c.name.matches("^(mkfs.*|dd|shred|wipefs|fdisk|sfdisk|parted|shutdown|reboot|halt|poweroff|init|'
            "telinit|useradd|userdel|"
            "usermod|passwd|chpasswd|visudo|crontab|iptables|nft|mount|umount|insmod|modprobe|rmmod|chattr|"
            'nc|ncat|netcat|socat)$") || '
            'c.name in ["rm", "unlink", "rmdir", "del", "rd"] && c.arguments.exists(a, '
            'a.matches("^-[A-Za-z]*[rRf]|^--rec|^--force|^/[sSqQ]$")) || '
            'c.name in ["chmod", "chown", "chgrp"] && c.arguments.exists(a, a.matches("^-[A-Za-z]*R|^--rec")) || '
            'c.name == "git" && "push" in c.arguments && c.arguments.exists(a, a.matches("^-[A-Za-z]*f|'
            '^--force|^--mirror|^--delete|^[+:]")) || '
            'c.redirects.exists(f, f.matches("^/(etc|boot|dev/[^nt]|proc|sys|usr|bin|sbin|lib)|[.]ssh/|'
            'authorized_keys|[.](bashrc|profile|zshrc)"))))',
            reason="this command can wreck the machine",
        ),
        PackRule(
            name="Commands that gain rights or leave",
            effect="hold",
            names=_SHELL_TOOLS,
            condition="(texts(args) + texts(request.input)).exists(t, shell.commands(t).exists(c, "
            'c.name.matches("^(sudo|doas|su|runuser|pkexec|setcap|chmod|chown|kill|pkill|killall|systemctl|'
            "service|curl|wget|ssh|scp|sftp|"
            "rsync|ftp|telnet|aws|gcloud|az|kubectl|docker|podman|terraform|helm|npm|pip|pip3|gem|cargo|apt|"
            'apt-get|yum|dnf|brew)$") || '
            'c.name == "git" && c.arguments.exists(a, a in ["push", "remote"])))',
            reason="this command gains rights or talks to another machine",
        ),
    ),
    cases=(
        PackCase("bash", {"command": "ls -la && cat README.md"}, "allow"),
        PackCase("bash", {"command": "rm notes.txt"}, "allow"),
        PackCase("bash", {"command": "rm -rf /"}, "deny", "Commands that wreck"),
        PackCase("run_command", {"cmd": "find / -exec sh -c 'rm -rf {}' \\;"}, "deny", "Commands that wreck"),
        PackCase("run_command", {"argv": ["sudo", "bash", "-c", "rm -rf /"]}, "deny", "Commands that wreck"),
        PackCase("run_command", {"cmd": "echo cm0gLXJmIC8= | base64 -d | sh"}, "deny", "Commands that wreck"),
        PackCase("run_command", {"cmd": "echo x > /etc/passwd"}, "deny", "Commands that wreck"),
        PackCase("run_command", {"cmd": "git push --force"}, "deny", "Commands that wreck"),
        PackCase(
            "executeCommand", {"command": "curl https://example.com"}, "hold", "Commands that gain rights or leave"
        ),
        PackCase("bash", {"command": "sudo ls"}, "hold", "Commands that gain rights or leave"),
        PackCase("send_message", {"text": "rm -rf /"}, "allow"),
    ),
)

_KEPT_PLACES = (
    r"(?i)(^|[/\\\s:=@])(\.|%2e)(env|netrc|npmrc|pypirc|git-credentials|pgpass|my\.cnf|htpasswd)([.\s/\\\x27\x22]|$)|"
    r"(\.|%2e)(ssh|aws|kube|gnupg|docker|azure|config/gcloud)([/\\]|%2f)|id_(rsa|dsa|ecdsa|ed25519)|\.(pem|"
    r"p12|pfx|jks|keystore|kdbx|ppk)([\s\x27\x22]|$)|"
    r"/etc/(shadow|gshadow|sudoers)|/proc/[^/\s]+/(environ|mem|cmdline)|/(run|var/run)/secrets|"
    r"(^|[/\\])(secrets?|credentials?|passwords?)\.(ya?ml|json|txt|toml|ini|properties|xml)|"
    r"169\.254\.169\.254|fd00:ec2::254|metadata\.google\.internal|100\.100\.100\.200"
)

SECRETS: Final = GuardrailPack(
    id="secrets",
    title="Access to secrets",
    summary="Stops reading keys, passwords and the metadata service of a cloud; holds tools of secret stores.",
    rules=(
        PackRule(
            name="Places of secrets",
            effect="deny",
            methods=("tools/call", "resources/read", "resources/subscribe", "prompts/get"),
            condition=f"(texts(args) + texts(request.input)).exists(t, t.matches(r'{_KEPT_PLACES}'))",
            reason="keys and passwords are not read through tools",
        ),
        PackRule(
            name="Secret stores",
            effect="hold",
            names=_any_case("secret", "password", "credential", "vault", "keychain", "api_key", "private_key"),
            reason="this reads or changes a secret",
        ),
    ),
    cases=(
        PackCase("read_file", {"path": "/app/.env"}, "deny", "Places of secrets"),
        PackCase("read_file", {"path": "/home/ann/.ssh/id_ed25519"}, "deny", "Places of secrets"),
        PackCase(
            "read_many", {"files": [{"name": "a"}, {"name": "config/credentials.json"}]}, "deny", "Places of secrets"
        ),
        PackCase("fetch", {"url": "http://169.254.169.254/latest/meta-data"}, "deny", "Places of secrets"),
        PackCase(
            "file:///root/.aws/credentials",
            {"uri": "file:///root/.aws/credentials"},
            "deny",
            "Places of secrets",
            method="resources/read",
        ),
        PackCase("get_secret", {"name": "db"}, "hold", "Secret stores"),
        PackCase("read_file", {"path": "/app/environment.md"}, "allow"),
        PackCase("search", {"q": "how do I rotate a password"}, "allow"),
    ),
)

_WRITING_TOOLS = _any_case(
    "write_file",
    "edit_file",
    "create_file",
    "append_file",
    "patch_file",
    "delete_file",
    "remove_file",
    "move_file",
    "rename_file",
    "copy_file",
    "create_directory",
    "delete_directory",
    "remove_directory",
    "upload_file",
    "write_to_file",
    "str_replace",
    "apply_diff",
    "apply_patch",
    "create_or_update_file",
    "push_files",
    "save_file",
    "overwrite",
)
_GUARDED_PLACES = (
    r"(?i)(^|[/\\\s:])(\.\.|%2e%2e)([/\\]|%2f|$)|^(file://)?[/\\]*(etc|boot|sys|proc|dev|bin|sbin|usr|lib|"
    r"lib64|root|var/spool)([/\\]|$)|"
    r"^[a-z]:[/\\]+(windows|program files)|(\.|%2e)(ssh|aws|kube|gnupg|git)([/\\]|%2f)|authorized_keys|"
    r"(\.|%2e)(bashrc|bash_profile|profile|zshrc|zprofile|gitconfig|npmrc|netrc|env)([.\s]|$)|"
    r"\.github[/\\]workflows|\.gitlab-ci|"
    r"autostart|launchagents|crontab|cron\.[a-z]+[/\\]"
)

FILE_WRITES: Final = GuardrailPack(
    id="file-writes",
    title="File system writes",
    summary="Stops writing to system folders, start-up files and out of the folder; holds every other write.",
    rules=(
        PackRule(
            name="Writes to guarded places",
            effect="deny",
            names=_WRITING_TOOLS,
            condition=f'["path", "file", "filename", "file_path", "filePath", "target", "target_file", '
            f'"destination", "source", "uri", "to", '
            f'"from", "new_path", "directory", "relative_path"].exists(k, k in args && '
            f"args[k].matches(r'{_GUARDED_PLACES}')) || "
            f"has(args.files) && texts(args.files).exists(t, t.matches(r'{_GUARDED_PLACES}'))",
            reason="this place is not written through tools",
        ),
        PackRule(name="Writes to files", effect="hold", names=_WRITING_TOOLS, reason="this changes files"),
    ),
    cases=(
        PackCase("write_file", {"path": "src/app.py", "content": "see ../x"}, "hold", "Writes to files"),
        PackCase("write_file", {"path": "../../etc/passwd", "content": ""}, "deny", "Writes to guarded places"),
        PackCase("writeFile", {"path": "/etc/cron.d/x", "content": ""}, "deny", "Writes to guarded places"),
        PackCase("edit_file", {"path": "/home/ann/.bashrc"}, "deny", "Writes to guarded places"),
        PackCase("push_files", {"files": [{"path": ".github/workflows/x.yml"}]}, "deny", "Writes to guarded places"),
        PackCase("move_file", {"source": "a", "destination": ["b"]}, "deny", "Writes to guarded places"),
        PackCase("read_file", {"path": "src/app.py"}, "allow"),
    ),
)

PAYMENTS_AND_MAIL: Final = GuardrailPack(
    id="payments-and-mail",
    title="Payments and messages",
    summary="Holds what moves money or writes to people; stops what is above a sum or goes to many at once.",
    parameters=(
        Parameter(
            "amount", "number", "1000", "The largest sum that a person may approve, in the unit that the tool takes."
        ),
        Parameter("recipients", "number", "20", "The most recipients of one message."),
    ),
    rules=(
        PackRule(
            name="Large payments",
            effect="deny",
            names=_any_case(
                "payment", "payout", "refund", "transfer", "charge", "purchase", "checkout", "invoice", "withdraw"
            ),
            condition='["amount", "total", "value", "sum", "price", "amount_cents"].exists(k, k in args && '
            "double(args[k]) > $amount)",
            reason="the sum is too large for a tool",
        ),
        PackRule(
            name="Payments",
            effect="hold",
            names=_any_case(
                "create_payment",
                "make_payment",
                "send_payment",
                "payout",
                "refund",
                "transfer",
                "charge",
                "purchase",
                "checkout",
                "withdraw",
                "pay_invoice",
                "finalize_invoice",
                "subscription",
            ),
            reason="this moves money",
        ),
        PackRule(
            name="Messages to many",
            effect="deny",
            names=_any_case("send", "mail", "post_message", "sms"),
            condition='["to", "cc", "bcc", "recipients", "addresses"].exists(k, k in args && '
            'size(texts(args[k]).filter(t, t.contains("@") || t.matches("[0-9]"))) > $recipients) || '
            '["to", "cc", "bcc", "recipients", "addresses"].exists(k, k in args && texts(args[k]).exists(t, '
            't.matches("(@[^@]*){$recipients}@")))',
            reason="this goes to too many at once",
        ),
        PackRule(
            name="Messages",
            effect="hold",
            names=_any_case(
                "send_email",
                "send_mail",
                "email_send",
                "send_message",
                "post_message",
                "send_sms",
                "create_tweet",
                "post_tweet",
                "reply_to",
                "send_invite",
                "forward_email",
                "gmail_send",
                "publish_post",
            ),
            reason="this writes to people",
        ),
    ),
    cases=(
        PackCase("create_refund", {"amount": 20}, "hold", "Payments"),
        PackCase("create_refund", {"amount": 5000}, "deny", "Large payments"),
        PackCase("create_refund", {"amount": "5000"}, "deny", "Large payments"),
        PackCase("create_refund", {"amount": "a lot"}, "deny", "Large payments"),
        PackCase("list_payments", {"limit": 5}, "allow"),
        PackCase("send_email", {"to": ["a@example.com"], "body": "hi"}, "hold", "Messages"),
        PackCase("send_email", {"bcc": [f"user{n}@example.com" for n in range(30)]}, "deny", "Messages to many"),
        PackCase("send_email", {"to": ",".join(f"user{n}@example.com" for n in range(30))}, "deny", "Messages to many"),
        PackCase("read_email", {"id": "7"}, "allow"),
    ),
)

AFTER_HOURS: Final = GuardrailPack(
    id="after-hours",
    title="After hours",
    summary="Holds calls of tools that do not say they only read, outside working hours.",
    parameters=(
        Parameter("zone", "zone", "Europe/Berlin", "The time zone (IANA)."),
        Parameter("begins", "number", "8", "The hour at which work begins, 0 to 23."),
        Parameter("ends", "number", "18", "The hour at which work ends, 1 to 24."),
    ),
    rules=(
        PackRule(
            name="Changes after hours",
            effect="hold",
            condition='!tool.is_read_only && (weekday(request.time, "$zone") in ["sat", "sun"] || '
            'hour(request.time, "$zone") < $begins || hour(request.time, "$zone") >= $ends)',
            reason="changes outside working hours are looked at by a person",
        ),
    ),
    cases=(
        PackCase("update_order", {}, "allow"),
        PackCase("update_order", {}, "hold", "Changes after hours", now=DAYTIME + 12 * 3600),
        PackCase("update_order", {}, "hold", "Changes after hours", now=DAYTIME + 3 * 86_400),
        PackCase("get_order", {}, "allow", annotations={"readOnlyHint": True}, now=DAYTIME + 12 * 3600),
    ),
)

_UNTRUSTED = Past(DAYTIME - 60, "web", "fetch", labels=("untrusted",))
_SENSITIVE = Past(DAYTIME - 30, "crm", "get_customer", labels=("sensitive",))
_LEAVES = '("egress" in tool.labels || "egress" in connection.labels)'

WAY_OUT: Final = GuardrailPack(
    id="way-out",
    title="Untrusted input, private data, way out",
    summary="Stops a session that has read untrusted content and touched private data from sending anything out.",
    rules=(
        PackRule(
            name="Private data after untrusted input",
            effect="deny",
            condition=f'"untrusted" in session.labels && "sensitive" in session.labels && {_LEAVES}',
            reason="this session has read untrusted content and private data, so nothing may leave it",
        ),
        PackRule(
            name="Perhaps a way out",
            effect="hold",
            condition='"untrusted" in session.labels && "sensitive" in session.labels && '
            '!("openWorldHint" in tool.annotations && tool.annotations.openWorldHint == false)',
            reason="this session has read untrusted content and private data, and the tool may reach outside",
        ),
        PackRule(
            name="Destroying after untrusted input",
            effect="hold",
            condition='"untrusted" in session.labels && tool.is_destructive && '
            '("destructiveHint" in tool.annotations || "egress" in tool.labels)',
            reason="this session has read untrusted content, and the tool may destroy",
        ),
    ),
    cases=(
        PackCase("send", {}, "deny", "Private data after untrusted input", (_UNTRUSTED, _SENSITIVE), ("egress",)),
        PackCase("send", {}, "allow", "", (_SENSITIVE,), ("egress",)),
        PackCase("search", {}, "hold", "Perhaps a way out", (_UNTRUSTED, _SENSITIVE)),
        PackCase(
            "add", {}, "allow", "", (_UNTRUSTED, _SENSITIVE), annotations={"openWorldHint": False, "readOnlyHint": True}
        ),
        PackCase(
            "wipe", {}, "hold", "Destroying after untrusted input", (_UNTRUSTED,), annotations={"destructiveHint": True}
        ),
        PackCase("get_customer", {}, "allow", "", (_UNTRUSTED,)),
        PackCase("wipe", {}, "allow", "", (), annotations={"destructiveHint": True}),
    ),
)

BUDGETS: Final = GuardrailPack(
    id="budgets",
    title="Budgets",
    summary="Bounds how much one caller does with one client: calls, calls a minute, bytes read, different records.",
    parameters=(
        Parameter("calls", "number", "500", "The most calls of one session."),
        Parameter("per_minute", "number", "60", "The most calls in a minute."),
        Parameter("megabytes", "number", "20", "The most megabytes (10^6 bytes) that answers have held."),
        Parameter("records", "number", "50", "The most different values of the argument below."),
        Parameter("argument", "name", "id", "The argument that names a record."),
    ),
    rules=(
        PackRule(
            name="Too fast",
            effect="deny",
            condition='session.rate("*", 60) >= $per_minute',
            reason="too many calls in a minute; wait before the next one",
        ),
        PackRule(
            name="Too many calls",
            effect="hold",
            condition="session.calls >= $calls",
            reason="this session has made very many calls",
        ),
        PackRule(
            name="Too much read",
            effect="hold",
            condition="session.bytes > $megabytes * 1000000",
            reason="this session has read very much",
        ),
        PackRule(
            name="Too many records",
            effect="hold",
            condition='session.distinct("$argument") > $records',
            reason="this session has looked at very many records",
        ),
    ),
    cases=(
        PackCase("get", {}, "allow", "", tuple(Past(DAYTIME - 300 - n, "c", "get", 1000) for n in range(100))),
        PackCase("get", {}, "deny", "Too fast", tuple(Past(DAYTIME - 30, "c", "get") for _ in range(60))),
        PackCase("get", {}, "hold", "Too many calls", tuple(Past(DAYTIME - 300, "c", "get") for _ in range(500))),
        PackCase("get", {}, "hold", "Too much read", (Past(DAYTIME - 300, "c", "get", 21_000_000),)),
        PackCase(
            "get",
            {},
            "hold",
            "Too many records",
            tuple(Past(DAYTIME - 300, "c", "get", 0, (), {"id": str(n)}) for n in range(51)),
        ),
    ),
)

PACKS: Final[Mapping[str, GuardrailPack]] = MappingProxyType(
    {
        pack.id: pack
        for pack in (
            DESTRUCTIVE_SQL,
            MASS_EXPORT,
            KUBERNETES,
            SHELL,
            SECRETS,
            FILE_WRITES,
            PAYMENTS_AND_MAIL,
            AFTER_HOURS,
            WAY_OUT,
            BUDGETS,
        )
    }
)
"""The packs by their id, in the order in which they are shown."""
