//! Completion for bash.

use reachback_core::keyword::KEYWORDS;

use crate::cli::flags::{self, Action, LONG_ONLY, SUBCOMMANDS};

const FRAME: &str = r#"# bash completion for reachback(1).
# Made from the program's tables by `make man`; do not edit.
# shellcheck shell=bash

# Names of the Host blocks of the configuration file.
_reachback_hosts() {
	local file=/etc/reachback/config i
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == -F ]] && file=${COMP_WORDS[i + 1]}
	done
	sed -n 's/^[[:blank:]]*[Hh][Oo][Ss][Tt][[:blank:]=]\{1,\}//p' "$file" 2>/dev/null |
		tr -s '[:blank:]"' '\n' | grep -v '[*?!]'
}

# Destinations of the tunnels that run, by the names of their sockets. compgen expands what it is given, and
# others may fill such a directory: names of plain letters only.
_reachback_running() {
	local directory name
	for directory in "${REACHBACK_RUNTIME_DIR:-/run/reachback}" \
		"${XDG_RUNTIME_DIR:-/run/user/$UID}/reachback" "/tmp/reachback-$UID"; do
		for name in "$directory"/*@*.sock; do
			[[ -S $name ]] || continue
			name=${name##*/}
			name=${name%.sock}
			[[ $name == *[!][A-Za-z0-9@._:-]* ]] || printf '%s\n' "${name%:22}"
		done
	done
}

_reachback() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	case $prev in
	-o)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -S = -W '@KEYWORDS@' -- "$cur")
		return
		;;
	-O)
		mapfile -t COMPREPLY < <(compgen -W 'check forward cancel exit' -- "$cur")
		return
		;;
	@FILES@)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	@OTHERS@)
		return
		;;
	esac
	case $cur in
	-*)
		mapfile -t COMPREPLY < <(compgen -W '@FLAGS@' -- "$cur")
		;;
	*)
		local words typed=$cur
		words="$(_reachback_hosts) $(_reachback_running)"
		((COMP_CWORD == 1)) && words+=' @COMMANDS@'
		if [[ -n ${COMP_LINE-} ]]; then
			# The whole word: readline breaks it at @ and :.
			typed=${COMP_LINE:0:COMP_POINT}
			typed=${typed##*[[:blank:]]}
		fi
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$typed")
		COMPREPLY=("${COMPREPLY[@]#"${typed%"${typed##*["$COMP_WORDBREAKS"]}"}"}")
		;;
	esac
}

complete -F _reachback reachback
"#;

/// The script for `/usr/share/bash-completion/completions/reachback`.
pub fn script() -> String {
    let keywords: Vec<&str> = KEYWORDS.iter().map(|keyword| keyword.name).collect();
    let commands: Vec<&str> = SUBCOMMANDS.iter().map(|command| command.name).collect();
    let mut words = Vec::new();
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for flag in flags::all() {
        let short = (flag.short != LONG_ONLY).then(|| format!("-{}", flag.short));
        if let (Some(short), false) = (&short, flag.argument.is_empty()) {
            match flag.action {
                Action::File | Action::Identity => files.push(short.clone()),
                Action::Option | Action::Order => {}
                _ => others.push(short.clone()),
            }
        }
        words.extend(short);
        words.extend(flag.long.map(|long| format!("--{long}")));
    }
    FRAME
        .replace("@KEYWORDS@", &keywords.join(" "))
        .replace("@FILES@", &files.join(" | "))
        .replace("@OTHERS@", &others.join(" | "))
        .replace("@FLAGS@", &words.join(" "))
        .replace("@COMMANDS@", &commands.join(" "))
}
