"""Programs that run other programs, as the reader of shell texts has to know them. Pure data.

What is listed here is what a text can hide a command behind. A program that is not listed is a command like any other,
and what it does with its arguments is its own affair.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "rbash", "yash", "pdksh"})
"""Shells that take a text of this grammar after `-c`."""

RESERVED: Final = frozenset(
    {"if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "function",
     "select", "{", "}", "!", "[[", "]]"}
)  # fmt: skip
"""Words of the grammar: where one stands as a command, the text was read otherwise than a shell reads it."""

INTERPRETERS: Final = re.compile(
    r"(?:python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|luajit|tclsh|Rscript|groovy|scala|julia|osascript|guile|gawk|mawk"
    r"|nawk|awk)[0-9.]*"
)
"""Interpreters of other languages: a program in an argument or from input cannot be read here."""

INLINE: Final = re.compile(r"-[A-Za-z]*[ceErpx]|--(?:eval|print|exec|execute|command|run|source|e|p)(?:=.*)?")
"""Options after which an interpreter finds its program in the arguments."""

AWKS: Final = frozenset({"awk", "gawk", "mawk", "nawk"})
AWK_RUNS: Final = re.compile(r"system|\||getline|@load|@include|print.*>")

SED_RUNS: Final = re.compile(r"(?:^|[;{}\s\d$/!,~])e(?:\s|$)|s([^\w\s]).*\1.*\1[gipIMm0-9]*e", re.DOTALL)
"""The command `e` and the flag `e` of `s` run what they find (GNU sed)."""

OPAQUE: Final = frozenset(
    {"pwsh", "powershell", "cmd", "fish", "csh", "tcsh", "nu", "xonsh", "elvish", "expect", "socat", "tmux", "screen",
     "gdb", "lldb", "coproc", "nix-shell", "bind", "ed", "ex", "m4", "rlwrap", "dtach", "abduco", "wish", "jshell",
     "debugfs", "ftp", "telnet", "rsh", "rexec", "wsl", "ptargrep"}
)  # fmt: skip
"""Programs whose own language runs commands: a text that has one cannot be read."""

OPAQUE_ARGUMENT: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "tar": re.compile(
            r"--?(?:checkpoint-action|to-com|use-compress|rsh-com|info-scr|new-vol|I|F).*|-[A-Za-z]*[IF].*", re.DOTALL
        ),
        "git": re.compile(
            r"--config-env.*|--exec-path=.*|--upload-pack.*|--receive-pack.*|-x|--exec.*|foreach|filter-branch|bisect|ext::.*"
            r"|(?!user\.|color\.|init\.|advice\.)[A-Za-z]+\.[A-Za-z.*/:-]+=.*|(?i:(?:alias|core|filter|credential|diff)\..*)",
            re.DOTALL,
        ),
        "rsync": re.compile(r"-[A-Za-z]*e.*|--rsh.*|--rsync-path.*", re.DOTALL),
        "ssh": re.compile(r"-[A-Za-z]*o.*(?i:command|include).*|(?i:.*command\s*[= ].*)|-F.*", re.DOTALL),
        "scp": re.compile(r"-S.*|-[A-Za-z]*o.*|(?i:.*command\s*[= ].*)|-D.*|-F.*", re.DOTALL),
        "sftp": re.compile(r"-S.*|-[A-Za-z]*o.*|(?i:.*command\s*[= ].*)|-D.*|-F.*|-b.*", re.DOTALL),
        "mapfile": re.compile(r"-C.*", re.DOTALL),
        "readarray": re.compile(r"-C.*", re.DOTALL),
        "enable": re.compile(r"-f.*", re.DOTALL),
        "complete": re.compile(r"-[A-Za-z]*[CF].*", re.DOTALL),
        "compgen": re.compile(r"-[A-Za-z]*[CFW].*", re.DOTALL),
        "hash": re.compile(r"-[A-Za-z]*p.*", re.DOTALL),
        "fc": re.compile(r".*", re.DOTALL),
        "history": re.compile(r"-[A-Za-z]*[sp].*", re.DOTALL),
        "shopt": re.compile(r"extglob|expand_aliases"),
        "make": re.compile(r"--eval.*|SHELL=.*|-[A-Za-z]*E.*|.*::=.*|.*!=.*", re.DOTALL),
        "gmake": re.compile(r"--eval.*|SHELL=.*|-[A-Za-z]*E.*|.*::=.*|.*!=.*", re.DOTALL),
        "vim": re.compile(r"-[A-Za-z]*[cSsw].*|--cmd.*|\+.*", re.DOTALL),
        "vi": re.compile(r"-[A-Za-z]*[cSsw].*|--cmd.*|\+.*", re.DOTALL),
        "nvim": re.compile(r"-[A-Za-z]*[cSsw].*|--cmd.*|\+.*|-l.*", re.DOTALL),
        "view": re.compile(r"-[A-Za-z]*[cSsw].*|--cmd.*|\+.*", re.DOTALL),
        "emacs": re.compile(r"-.*", re.DOTALL),
        "less": re.compile(r"\+.*|-[A-Za-z]*k.*|--lesskey.*", re.DOTALL),
        "man": re.compile(r"-[A-Za-z]*[PH].*|--pager.*|--html.*", re.DOTALL),
        "zip": re.compile(r"-[A-Za-z]*T+.*|--unzip-command.*", re.DOTALL),
        "sort": re.compile(r"--compress-prog.*", re.DOTALL),
        "split": re.compile(r"--filter.*", re.DOTALL),
        "nc": re.compile(r"-[A-Za-z]*[ec].*|--exec.*|--sh-exec.*|--lua-exec.*", re.DOTALL),
        "ncat": re.compile(r"-[A-Za-z]*[ec].*|--exec.*|--sh-exec.*|--lua-exec.*", re.DOTALL),
        "tcpdump": re.compile(r"-[A-Za-z]*z.*", re.DOTALL),
        "ip": re.compile(r"exec|-b.*", re.DOTALL),
        "cargo": re.compile(r"--config.*|script", re.DOTALL),
        "wget": re.compile(r"--use-askpass.*|-e.*|--execute.*", re.DOTALL),
        "curl": re.compile(r"-K.*|--config.*", re.DOTALL),
        "openssl": re.compile(r"engine|-engine.*", re.DOTALL),
        "journalctl": re.compile(r"--pager.*", re.DOTALL),
        "psql": re.compile(r".*\\!.*|.*(?i:program).*", re.DOTALL),
        "sqlite3": re.compile(r".*\.(?:shell|system|load|import\s*\|).*|-cmd.*|-init.*", re.DOTALL),
        "mysql": re.compile(r".*(?:\\!|\bsystem\b).*|--pager.*", re.DOTALL),
        "npm": re.compile(r"-c|--call.*|--script-shell.*", re.DOTALL),
        "npx": re.compile(r"-[A-Za-z]*c.*|--call.*|--shell.*", re.DOTALL),
        "helm": re.compile(r"--post-renderer.*", re.DOTALL),
        "ansible": re.compile(r"-[A-Za-z]*[am].*|--args.*|--module-name.*", re.DOTALL),
        "terraform": re.compile(r"console"),
        "busybox": re.compile(r"--install.*", re.DOTALL),
    }
)
"""Arguments with which a program runs something that its other arguments do not show."""

PREFIXES: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("sudo", "doas", "env", "nohup", "time", "nice", "ionice", "setsid", "stdbuf", "command", "builtin",
             "exec", "xargs", "unshare", "watch", "strace", "ltrace", "parallel", "systemd-run", "busybox", "toybox",
             "nsenter", "setarch", "linux32", "linux64", "i386", "x86_64", "numactl", "prlimit", "firejail", "bwrap",
             "fakeroot", "eatmydata", "valgrind", "perf", "torsocks", "torify", "proxychains", "proxychains4",
             "dbus-run-session", "xvfb-run", "unbuffer", "sshpass", "pkexec", "run0", "setpriv",
             "start-stop-daemon", "daemonize", "entr", "caffeinate", "npx", "pnpx", "bunx", "uvx", "dotenv",
             "script", "su", "runuser", "noglob", "nocorrect", "ld.so", "faketime", "chronic", "errno", "ts", "mispipe",
             "ifne", "proot", "tsocks", "cpulimit", "with-contenv", "tini", "dumb-init", "hyperfine", "nodemon",
             "direnv"), 0),
        **dict.fromkeys(("timeout", "chroot", "flock", "taskset", "chrt", "gosu", "su-exec", "ssh", "setlock",
                         "softlimit", "cgexec", "sg", "logsave"), 1),
    }
)  # fmt: skip
"""Programs that run the command in their arguments; how many words of their own may stand before it."""

BEHIND: Final[Mapping[str, tuple[frozenset[str], int]]] = MappingProxyType(
    {
        "docker": (frozenset({"exec", "run", "create"}), 1),
        "podman": (frozenset({"exec", "run", "create"}), 1),
        "nerdctl": (frozenset({"exec", "run", "create"}), 1),
        "kubectl": (frozenset({"exec", "run", "debug"}), 1),
        "oc": (frozenset({"exec", "run", "debug", "rsh"}), 1),
        "lxc": (frozenset({"exec"}), 1),
        "lxc-attach": (frozenset({"--"}), 0),
        "vagrant": (frozenset({"ssh"}), 1),
        "poetry": (frozenset({"run"}), 0),
        "uv": (frozenset({"run"}), 0),
        "pipenv": (frozenset({"run"}), 0),
        "pdm": (frozenset({"run"}), 0),
        "hatch": (frozenset({"run"}), 0),
        "conda": (frozenset({"run"}), 0),
        "mamba": (frozenset({"run"}), 0),
        "pipx": (frozenset({"run"}), 0),
        "npm": (frozenset({"exec", "x"}), 0),
        "pnpm": (frozenset({"exec", "dlx"}), 0),
        "yarn": (frozenset({"exec", "dlx"}), 0),
        "bundle": (frozenset({"exec"}), 0),
        "mise": (frozenset({"exec", "x"}), 0),
        "rtx": (frozenset({"exec", "x"}), 0),
        "capsh": (frozenset({"--"}), 0),
        "nix": (frozenset({"run", "shell", "develop"}), 1),
        "fd": (frozenset({"-x", "-X", "--exec", "--exec-batch"}), 0),
        "fdfind": (frozenset({"-x", "-X", "--exec", "--exec-batch"}), 0),
        "find": (frozenset({"-exec", "-execdir", "-ok", "-okdir"}), 0),
        "gfind": (frozenset({"-exec", "-execdir", "-ok", "-okdir"}), 0),
    }
)
"""Programs that run the command behind one of some words; how many words of their own may stand between."""

JOINED: Final = frozenset({"watch", "parallel", "ssh", "sg", "hyperfine", "nodemon", "vagrant"})
"""Programs that give their words, put together, to a shell."""

SHELL_TEXT: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "su": re.compile(r"-[a-z]*c|--command|--session-command"),
        "runuser": re.compile(r"-[a-z]*c|--command|--session-command"),
        "script": re.compile(r"-[a-z]*c|--command"),
        "flock": re.compile(r"-[a-z]*c|--command"),
        "capsh": re.compile(r"-c"),
        "sg": re.compile(r"-c"),
        "parallel": re.compile(r"--(?:shellquote|basefile)"),
    }
)
"""The option after which a program has a text for a shell."""

CHANGES_MEANING: Final = re.compile(
    r"PATH|IFS|ENV|BASH_ENV|BASH_FUNC.*|SHELLOPTS|BASHOPTS|PROMPT_COMMAND|PS[0-4]|LD_.*|DYLD_.*|GIT_.*|.*PAGER|.*EDITOR|VISUAL"
    r"|BROWSER|PYTHON.*|PERL.*|RUBY.*|NODE_OPTIONS|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|RSYNC_RSH|TAR_OPTIONS|LESSOPEN|LESSCLOSE"
    r"|MANOPT|SHELL|MAKEFLAGS|EXINIT|VIMINIT|COMP_WORDBREAKS|GCONV_PATH|OPENSSL_CONF|CDPATH|FPATH|ZDOTDIR|WGETRC|CURL_HOME"
)
"""Variables that change what a name runs."""
