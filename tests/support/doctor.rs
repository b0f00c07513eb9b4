//! What `reachback doctor` says.

use std::fs;

use super::client::{Call, Ended};
use super::rig::Site;
use super::targets::Target;
use super::{free_port, process};

/// The steps of a tunnel with one forward of this port, in their order.
pub fn names(port: u16, target: &Target) -> Vec<String> {
    let before = [
        "key",
        "configuration",
        "route",
        "DNS",
        "TCP",
        "server",
        "algorithms",
        "host key",
        "login",
    ];
    let mut names: Vec<String> = before.map(str::to_owned).to_vec();
    names.push(format!("forward {port}"));
    names.push(format!("target {}", target.address));
    names.extend(["clock", "known_hosts", "process"].map(str::to_owned));
    names
}

/// What was said: result, step, text, each in one piece whatever the lines.
pub struct Said {
    /// What was printed, and the exit status.
    pub ended: Ended,
    /// Result, name and text.
    pub steps: Vec<(String, String, String)>,
}

impl Said {
    /// Of a call that ended.
    pub fn of(ended: Ended) -> Said {
        let mut lines: Vec<String> = Vec::new();
        for line in &ended.stdout {
            assert!(
                line.chars().count() <= 80 || !line.trim().contains(' '),
                "{line}"
            );
            match (line.strip_prefix(' '), lines.last_mut()) {
                (Some(rest), Some(last)) => *last += &format!(" {}", rest.trim_start()),
                _ => lines.push(line.clone()),
            }
        }
        let steps = lines.iter().map(|line| {
            let (result, rest) = line.split_at(5);
            let at = rest.find(": ").unwrap();
            (
                result.trim().to_owned(),
                rest[..at].to_owned(),
                rest[at + 2..].to_owned(),
            )
        });
        let steps = steps.collect();
        Said { steps, ended }
    }

    /// Result and text of a step.
    #[track_caller]
    pub fn step(&self, name: &str) -> (&str, &str) {
        let step = self.steps.iter().find(|step| step.1 == name);
        let (result, _, text) = step.unwrap_or_else(|| panic!("no {name}: {:#?}", self.ended));
        (result, text)
    }

    /// This is the first that failed, with these words, and what to do has these.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, name: &str, words: &str, action: &str) {
        let first = self.steps.iter().find(|step| step.0 == "FAIL");
        let first = first.map(|step| step.1.as_str());
        assert_eq!(
            (self.ended.code, first),
            (code, Some(name)),
            "{:#?}",
            self.ended
        );
        let (_, text) = self.step(name);
        let (what, to_do) = text.split_once(" what to do: ").unwrap();
        assert!(process::matches(what, words), "{what}");
        assert!(process::matches(to_do, action), "{to_do}");
    }
}

/// A site whose host key is pinned, and a target.
pub struct Place {
    /// Server and key.
    pub site: Site,
    /// The target.
    pub target: Target,
    /// The forward's port.
    pub port: u16,
}

impl Place {
    /// With these lines of sshd_config(5).
    pub fn with(lines: &[&str]) -> Place {
        let place = Place {
            site: Site::with(lines),
            target: Target::http("page"),
            port: free_port(),
        };
        place.pin(&place.site.server.host_key.public);
        place
    }

    /// The usual one.
    pub fn up() -> Place {
        Place::with(&[])
    }

    /// Makes known_hosts have this key, and no other.
    pub fn pin(&self, public: &str) {
        let words: Vec<&str> = public.split(' ').collect();
        let line = format!(
            "[127.0.0.1]:{} {} {}\n",
            self.site.server.port, words[0], words[1]
        );
        fs::write(self.site.scene.known_hosts(), line).unwrap();
    }

    /// `doctor` with the key, to be completed.
    pub fn call(&self) -> Call<'_> {
        Call::new(&self.site.scene)
            .args(&["doctor"])
            .identity(&self.site.key)
    }

    /// With a forward to the target, and these flags.
    pub fn doctor(&self, flags: &[&str]) -> Said {
        let call = self
            .call()
            .args(flags)
            .forward(self.port, self.target.address);
        Said::of(call.args(&[&self.site.destination()]).run())
    }
}
