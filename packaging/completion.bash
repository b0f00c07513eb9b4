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

_reachback() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	case $prev in
	-o)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -S = -W 'AddressFamily AllowDestinations BindAddress BindInterface ChannelIdleTimeout Ciphers ConnectTimeout ExitOnForwardFailure Fallback HostKeyAlgorithms HostKeyAlias Hostname IPQoS IdentityFile IdleTimeout IgnoreUnknown KexAlgorithms LogFile LogLevel MACs MaxLifetime Port PubkeyAcceptedAlgorithms RekeyLimit RemoteForward RunAsUser RuntimeDirectory Sandbox ScriptForward ScriptUser SerialFile ServerAliveCountMax ServerAliveInterval SessionChannel StartAtBoot StateFile StrictHostKeyChecking TCPKeepAlive User UserKnownHostsFile VerifyForward' -- "$cur")
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
		mapfile -t COMPREPLY < <(compgen -W '-R -i -y -p -4 -6 -b -B -f --wait -I -K -O -o -F -Q -v -q -N -n -T -g --json --watch --all --service --list --password-fd --restrict -V --version -h --help' -- "$cur")
		;;
	*)
		local words
		words=$(_reachback_hosts)
		((COMP_CWORD == 1)) && words+=' invoke enroll pubkey status stop reconnect reload renew config check known-hosts boot'
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		;;
	esac
}

complete -F _reachback reachback
