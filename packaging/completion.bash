# bash completion for reachback(1).
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
		mapfile -t COMPREPLY < <(compgen -S = -W 'AddressFamily AllowDestinations BindAddress BindInterface ChannelIdleTimeout Ciphers ConnectTimeout ExitOnForwardFailure Fallback HostKeyAlgorithms HostKeyAlias Hostname IPQoS IdentityFile IdleTimeout IgnoreUnknown KexAlgorithms LogFile LogLevel MACs MaxLifetime MaxTunnels Port Proxy ProxyCredentialsFile PubkeyAcceptedAlgorithms RekeyLimit RemoteForward RunAsUser RuntimeDirectory Sandbox ScriptForward ScriptUser SerialFile ServerAliveCountMax ServerAliveInterval SessionChannel StartAtBoot StateFile StrictHostKeyChecking TCPKeepAlive UpdateHostKeys User UserKnownHostsFile VerifyForward' -- "$cur")
		return
		;;
	-O)
		mapfile -t COMPREPLY < <(compgen -W 'check forward cancel exit' -- "$cur")
		return
		;;
	-i | -F)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	-R | -p | -b | -B | -I | -K | -Q)
		return
		;;
	esac
	case $cur in
	-*)
		mapfile -t COMPREPLY < <(compgen -W '-R -i -y -p -4 -6 -b -B -f --wait -I -K -O -o -F -Q -v -q -N -n -T -g --json --watch --short --all --service --list --password-fd --restrict -V --version -h --help' -- "$cur")
		;;
	*)
		local words typed=$cur
		words="$(_reachback_hosts) $(_reachback_running)"
		((COMP_CWORD == 1)) && words+=' invoke enroll pubkey status doctor stop reconnect reload renew config check known-hosts boot'
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
