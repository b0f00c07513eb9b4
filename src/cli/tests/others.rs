//! Lines that were written for ssh, autossh and dbclient.

use super::*;

#[test]
fn what_cannot_be_done_is_refused_with_the_rest_of_the_line() {
    for (line, words, rest) in [
        (
            "-R 1:h:2 -L 5:h:6 -y u@h",
            "-L 5:h:6 cannot be done: ",
            "-R 1:h:2 -y u@h",
        ),
        (
            "-NL5:h:6 -D 1080 -R 1:h:2 u@h",
            "-L 5:h:6 (and 1 more) cannot",
            "-N -R 1:h:2 u@h",
        ),
        ("-J a@b -R 1:h:2 u@h", "there are no jump hosts", "u@h"),
        ("-W h:22 u@h", "-W h:22 cannot be done", "u@h"),
        ("-w 0 -R 1:h:2 u@h", "no tunnel device", "u@h"),
        ("-R 1080 u@h", "SOCKS", ""),
        (
            "-o ProxyCommand=x -R 1:h:2 u@h",
            "no program is ever run",
            "",
        ),
        ("-R 1:h:2 u@h uptime", "no remote command", ""),
        ("-R 1:h:2 u@a,u@b", "no jump hosts", ""),
    ] {
        let exit = refused(line);
        assert_eq!(exit.code, USAGE, "{line}");
        assert!(exit.message.contains(words), "{line}: {exit}");
        assert!(exit.message.ends_with(rest), "{line}: {exit}");
    }
}

#[test]
fn what_changes_nothing_is_taken_and_what_asks_for_more_is_said() {
    let notes = |line: &str| -> Vec<String> {
        let settings = run_settings(&format!("{line} -R 1:h:2 u@h"));
        settings.notes.into_iter().map(|note| note.text).collect()
    };
    assert!(notes("-a -x -k -C -S none -t -tt -W 65536 -2 -e none -z -nNTq -M").is_empty());
    assert_eq!(notes("-A"), ["-A: the agent is not forwarded"]);
    assert_eq!(notes("-X -Y").len(), 2);
    assert!(notes("-M 0")[0].contains("not needed"));
    assert!(notes("-g")[0].contains("-R *:1:"), "{:?}", notes("-g"));
    let settings = run_settings("-l you -R 1:h:2 -N h -- -y");
    assert_eq!(settings.destination.user, "you");
    assert_eq!(
        settings.notes[0].text,
        "remote command -y: not run, as -N says"
    );
    let settings = run_settings("-g -R *:1:h:2 u@h");
    assert!(settings.notes.is_empty(), "an address was named");
}

#[test]
fn each_program_has_its_own_reading_of_flags() {
    let read = |program, line: &str| {
        let words = line.split(' ').map(OsString::from);
        Options::parse(program, words).map(|(options, _)| options)
    };
    let dbclient = read(Program::Dbclient, "-g -R 1:h:2 -R 2:h:2 -R *:3:h:2").unwrap();
    let forwards = dbclient.config.forwards().iter();
    let forwards: Vec<String> = forwards.map(ToString::to_string).collect();
    assert_eq!(forwards, ["*:1:h:2", "*:2:h:2", "*:3:h:2"]);
    assert!(dbclient.notes[0].text.contains("listens on all addresses"));
    let checking = |program| {
        let options = read(program, "-y -K -I lib.so -R 1:h:2").unwrap();
        let notes = options.notes.len();
        (options.config.strict_host_key_checking(), notes)
    };
    // On controllers `ssh` is dbclient, and so is its -y.
    let accepts = (StrictHostKeyChecking::AcceptNew, 2);
    assert_eq!(checking(Program::Ssh), accepts);
    let to_syslog = (StrictHostKeyChecking::Yes, 3);
    assert_eq!(checking(Program::Autossh), to_syslog);
    assert!(read(Program::Dbclient, "-J x -R 1:h:2").is_err());
    assert!(read(Program::Autossh, "-M none -W h:1 -R 1:h:2").is_err());
    assert!(read(Program::Dbclient, "-W 1000 -K 30 -I 0").is_ok());
}

/// autossh would start ssh again when it ends, and nothing would start this program again.
#[test]
fn a_line_of_autossh_asks_again_for_a_refused_forward() {
    let line = "-o ExitOnForwardFailure=yes -R 1:h:2 u@h";
    assert!(run_settings(line).config.exit_on_forward_failure());
    let settings = run_settings(&format!("-M 0 -f {line}"));
    assert!(!settings.config.exit_on_forward_failure());
    assert_eq!(settings.wait, None, "nor is it waited for");
    assert_eq!(settings.notes.len(), 2);
}

#[test]
fn pubkey_of_a_destination_is_the_key_of_its_block() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("config");
    std::fs::write(
        &file,
        "Host hub\n IdentityFile /a\nHost *\n IdentityFile /b\n",
    )
    .unwrap();
    let line = format!("pubkey -F {} me@hub", file.display());
    let Command::Pubkey { identity_files, .. } = parsed(&line).unwrap() else {
        panic!("no pubkey");
    };
    assert_eq!(identity_files, ["/a", "/b"].map(PathBuf::from));
}
