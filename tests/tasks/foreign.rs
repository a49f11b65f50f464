//! Work by path below folders that other users own: what they put in the way must not lead root elsewhere.

use std::os::unix::fs::{chown, symlink};

use super::*;

const ADA: u32 = 64242;
const BOB: u32 = 64243;

/// A machine with users: a folder of theirs, accounts, and what belongs to root alone.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder };
        machine.opens("");
        for name in ["home", "home/ada", "home/bob", "etc"] {
            fs::create_dir(machine.path(name)).unwrap();
            machine.opens(name);
        }
        let mut passwd = fs::read_to_string("/etc/passwd").unwrap();
        let mut group = fs::read_to_string("/etc/group").unwrap();
        for (name, id) in [("ada", ADA), ("bob", BOB)] {
            let home = machine.path(&format!("home/{name}"));
            chown(&home, Some(id), Some(id)).unwrap();
            passwd.push_str(&format!(
                "{name}:x:{id}:{id}::{}:/bin/bash\n",
                home.display()
            ));
            group.push_str(&format!("{name}:x:{id}:\n"));
        }
        fs::write(machine.path("passwd"), passwd).unwrap();
        fs::write(machine.path("group"), group).unwrap();
        fs::write(machine.path("etc/secret"), "root's own\n").unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> Value {
        text(self.path(name).to_str().unwrap())
    }

    fn opens(&self, name: &str) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn step(&self, task: &str, given: &[(&str, Value)]) -> One {
        let mut step = one(task, given);
        step.accounts = Some(self.folder.path().to_owned());
        step
    }

    /// What `etc` holds, with modes and owners.
    fn etc(&self) -> Vec<String> {
        let mut found: Vec<String> = fs::read_dir(self.path("etc"))
            .unwrap()
            .chain(fs::read_dir(self.path("home/bob")).unwrap())
            .map(|entry| {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let content = fs::read_to_string(&path).unwrap_or_default();
                format!(
                    "{} {:o} {} {content}",
                    path.display(),
                    meta.mode(),
                    meta.uid()
                )
            })
            .collect();
        found.push(format!(
            "{:o} {}",
            fs::metadata(self.path("etc")).unwrap().mode(),
            fs::metadata(self.path("etc")).unwrap().uid()
        ));
        found.sort();
        found
    }
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmock ada@desk";

#[test]
fn authorized_keys_are_the_users_own_and_never_somebody_elses() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let theirs = machine.path("home/bob/authorized_keys");
    fs::write(&theirs, "ssh-ed25519 BOB\n").unwrap();
    chown(theirs, Some(BOB), Some(BOB)).unwrap();
    let before = machine.etc();
    let user = machine.step(
        "user",
        &[
            ("name", text("ada")),
            ("home", machine.text("home/ada")),
            ("authorized_keys", texts(&[KEY])),
        ],
    );

    // The file is a link to another user's, or to root's; the folder is one.
    let ssh = machine.path("home/ada/.ssh");
    let file = ssh.join("authorized_keys");
    for (name, is_there) in [
        ("home/bob/authorized_keys", true),
        ("etc/secret", true),
        ("etc/new", false),
    ] {
        fs::create_dir(&ssh).unwrap();
        chown(&ssh, Some(ADA), Some(ADA)).unwrap();
        symlink(machine.path(name), &file).unwrap();
        let (ended, output) = user.try_apply();
        assert_eq!(machine.etc(), before, "{name}: {output}");
        // A link that leads nowhere is replaced.
        assert_eq!(ended == Ended::Well, !is_there, "{name}: {output}");
        assert_eq!(output.contains("belongs to ada"), is_there, "{output}");
        fs::remove_dir_all(&ssh).unwrap();
    }
    symlink(machine.path("etc"), &ssh).unwrap();
    let (ended, output) = user.try_apply();
    assert_ne!(ended, Ended::Well, "{output}");
    assert_eq!(machine.etc(), before, "{output}");
    fs::remove_file(&ssh).unwrap();

    // As it should be; links to what is the user's own are the user's own business.
    user.apply();
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{KEY}\n"));
    assert_eq!((owner(&ssh), owner(&file)), (ADA, ADA));
    assert_eq!((mode(&ssh), mode(&file)), (0o700, 0o600));
    fs::rename(&ssh, machine.path("home/ada/dotfiles")).unwrap();
    symlink("dotfiles", &ssh).unwrap();
    chown(&file, Some(ADA), Some(ADA)).unwrap();
    std::os::unix::fs::lchown(&ssh, Some(ADA), Some(ADA)).unwrap();
    fs::write(&file, "ssh-rsa other").unwrap();
    user.apply();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("ssh-rsa other\n{KEY}\n")
    );
    assert_eq!(machine.etc(), before);
}

/// Steps of each task that works by path, at `path`.
fn steps(machine: &Machine, path: &str, owner: &str) -> Vec<One> {
    let at = |name: &str| machine.text(&format!("{path}/{name}"));
    vec![
        machine.step(
            "file",
            &[
                ("path", at("secret")),
                ("content", text("it's\nnew\n")),
                ("owner", text(owner)),
                ("mode", text("0600")),
            ],
        ),
        machine.step(
            "directory",
            &[
                ("path", at("made")),
                ("owner", text(owner)),
                ("mode", text("0700")),
            ],
        ),
        machine.step("line", &[("path", at("lines")), ("line", text("a 'line'"))]),
        machine.step("symlink", &[("path", at("link")), ("to", text("x"))]),
    ]
}

#[test]
fn links_of_users_lead_root_nowhere() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let before = machine.etc();
    let trap = machine.path("home/ada/trap");
    for target in ["etc", "home/bob"] {
        symlink(machine.path(target), &trap).unwrap();
        for step in steps(&machine, "home/ada/trap", "ada:ada") {
            let (ended, output) = step.try_apply();
            assert_ne!(ended, Ended::Well, "{}: {output}", step.task.name);
            assert!(output.contains("belongs to ada"), "{output}");
            assert_eq!(machine.etc(), before, "{}: {output}", step.task.name);
            step.try_remove();
            assert_eq!(machine.etc(), before, "{}", step.task.name);
        }
        fs::remove_file(&trap).unwrap();
    }
    // A directory whose own place was taken by a link, in a folder that is root's.
    symlink(machine.path("etc"), machine.path("home/link")).unwrap();
    let directory = machine.step(
        "directory",
        &[
            ("path", machine.text("home/link")),
            ("owner", text("ada:ada")),
            ("mode", text("0777")),
        ],
    );
    let (ended, output) = directory.try_apply();
    assert_ne!(ended, Ended::Well);
    assert!(output.contains("is a symbolic link"), "{output}");
    assert_eq!(machine.etc(), before);
}

#[test]
fn below_a_users_folder_work_is_done_as_that_user_and_for_no_other() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    for step in steps(&machine, "home/ada/deep er", "ada:ada") {
        step.apply();
        step.apply();
    }
    let deep = machine.path("home/ada/deep er");
    for name in ["", "secret", "made", "lines", "link"] {
        assert_eq!(owner(&deep.join(name)), ADA, "{name}");
    }
    assert_eq!(
        fs::read_to_string(deep.join("secret")).unwrap(),
        "it's\nnew\n"
    );
    assert_eq!(mode(&deep.join("secret")), 0o600);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 4);
    for step in steps(&machine, "home/ada/deep er", "ada:ada") {
        step.remove();
    }
    assert_eq!(fs::read_to_string(deep.join("lines")).unwrap(), "");
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 1);

    // Root's own can't be had there, nor what a third user's folder is in the way of.
    let (ended, output) = steps(&machine, "home/ada/x", "root:root")[0].try_apply();
    assert_ne!(ended, Ended::Well);
    assert!(
        output.contains("can be owned by ada only, not by root"),
        "{output}"
    );
    let third = machine.path("home/ada/third");
    fs::create_dir(&third).unwrap();
    chown(&third, Some(BOB), Some(BOB)).unwrap();
    fs::set_permissions(&third, fs::Permissions::from_mode(0o777)).unwrap();
    let (ended, output) = steps(&machine, "home/ada/third", "ada:ada")[0].try_apply();
    assert_ne!(ended, Ended::Well);
    assert!(output.contains("third belongs to bob"), "{output}");
}

#[test]
fn links_that_root_made_are_followed() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let far = machine.path("etc/far");
    fs::create_dir(&far).unwrap();
    symlink(&far, machine.path("srv")).unwrap();
    symlink("../srv", machine.path("etc/again")).unwrap();
    for step in steps(&machine, "etc/again/../far//new/./er", "root:root") {
        step.apply();
        step.remove();
    }
    for step in steps(&machine, "etc/again/new/er", "ada:ada") {
        step.apply();
    }
    assert_eq!(owner(&far.join("new/er/secret")), ADA);
    assert_eq!(owner(&far.join("new/er")), 0);
    symlink("loop", machine.path("loop")).unwrap();
    let (ended, output) = steps(&machine, "loop", "root:root")[0].try_apply();
    assert_ne!(ended, Ended::Well);
    assert!(output.contains("too many symbolic links"), "{output}");
}

#[test]
fn a_file_that_fails_its_check_does_not_take_its_place() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let file = |content: &str| {
        machine.step(
            "file",
            &[
                ("path", machine.text("etc/sudoers")),
                ("content", text(content)),
                (
                    "check",
                    text("grep -q good \"$1\" || { echo not good; exit 1; }"),
                ),
            ],
        )
    };
    file("good").apply();
    let (ended, output) = file("bad").try_apply();
    assert_eq!(ended, Ended::Status(1));
    assert!(output.contains("not good"), "{output}");
    assert_eq!(
        fs::read_to_string(machine.path("etc/sudoers")).unwrap(),
        "good"
    );
    assert_eq!(fs::read_dir(machine.path("etc")).unwrap().count(), 2);
}

#[test]
fn a_full_disk_is_named() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let file = |name: &str| {
        one(
            "file",
            &[
                ("path", machine.text(name)),
                ("content", text("x".repeat(1 << 20))),
            ],
        )
    };
    let full = |options: &str, name: &str| {
        let step = file(name);
        let job = Job {
            effect: step.task.apply.as_ref().unwrap(),
            values: &step.values,
            ask: step.ask(),
            stack: &step.stack,
            stamp: None,
            by_stamp: false,
        };
        let application = Application::new(job, Nonce::new([2; 16]), None).unwrap();
        let mount = format!(
            "mount -t tmpfs -o {options} none '{}'; cd '{0}'; eval \"$1\"; shift; eval \"$(cat)\"",
            machine.path("etc").display()
        );
        let fill = "touch a b c; mount -o remount,\"${READ-rw}\" .";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &mount, "sh", fill]);
        if options.contains("mode") {
            command.env("READ", "ro");
        }
        application.read(&run(&mut command, application.program()))
    };
    let small = full("size=64k", "etc/file");
    assert_eq!(small.ended, Ended::Status(1));
    let folder = machine.path("etc").display().to_string();
    assert!(
        small.output.contains(&format!(
            "disk full: {folder} could not be written: none has"
        )),
        "{}",
        small.output
    );
    let nodes = full("nr_inodes=4", "etc/file");
    assert!(
        nodes.output.contains("disk full: ") && nodes.output.contains("and 0 of 4 inodes"),
        "{}",
        nodes.output
    );
    let read_only = full("mode=0755", "etc/file");
    assert!(
        read_only.output.contains("Read-only file system")
            && !read_only.output.contains("disk full"),
        "{}",
        read_only.output
    );
}
