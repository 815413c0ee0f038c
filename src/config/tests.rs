use clap::CommandFactory;

use std::path::Path;

use super::file::SettingsFile;
use super::*;

fn config(options: &str) -> Config {
    Config::try_parse_from(["plenum"].into_iter().chain(options.split_whitespace())).unwrap()
}

#[test]
fn the_options_do_not_contradict_each_other() {
    Config::command().debug_assert();
}

#[test]
fn without_options_only_this_machine_is_served() {
    let config = config("");
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.udp_address().to_string(), "127.0.0.1:3478");
}

#[test]
fn a_server_that_others_reach_has_to_be_wanted() {
    for (options, setting) in [
        ("--http 0.0.0.0:80", "--http"),
        ("--http [::]:80", "--http"),
        ("--udp 192.0.2.1:3478", "--udp"),
        ("--udp [::ffff:192.0.2.1]:3478", "--udp"),
        ("--tcp 192.0.2.1:443", "--tcp"),
        ("--stun 192.0.2.1:3478", "--stun"),
        ("--operator 10.0.0.1:9080", "--operator"),
    ] {
        let refusal = config(options).check().unwrap_err();
        let text = refusal.to_string();
        assert!(
            text.starts_with(setting) && text.contains("--insecure"),
            "{text}"
        );
        assert_eq!(config(&format!("{options} --insecure")).check(), Ok(()));
    }
    let tokens = "--key 0123456789abcdef0123456789abcdef";
    assert_eq!(
        config(&format!("--http 0.0.0.0:80 {tokens}")).check(),
        Ok(())
    );
    let operator = config(&format!("--operator 0.0.0.0:80 {tokens}")).check();
    assert!(operator.is_err(), "it asks for no token");
    for loopback in [
        "--http [::1]:80",
        "--udp 127.0.0.7:9",
        "--udp [::ffff:127.0.0.1]:9",
    ] {
        assert_eq!(config(loopback).check(), Ok(()), "{loopback}");
    }
}

#[test]
fn tcp_comes_to_the_port_of_https_unless_it_is_off() {
    let tls = "--tls-cert c --tls-key k";
    assert!(config(tls).shares_http());
    assert!(!config(&format!("{tls} --tcp off")).shares_http());
    assert!(!config("").shares_http(), "a page on loopback");
    assert!(config("--tcp 127.0.0.1:8080").shares_http());
}

#[test]
fn several_public_addresses_can_be_given() {
    let both = config("--public-ip 203.0.113.5,2001:db8::5 --public-ip 203.0.113.6:443");
    assert_eq!(both.net.public_ips.len(), 3);
}

fn words(options: &str) -> Vec<std::ffi::OsString> {
    let line = ["plenum"].into_iter().chain(options.split_whitespace());
    line.map(Into::into).collect()
}

/// What a server with this file and these options says that its settings are.
fn shown(file: &str, options: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plenum.toml");
    std::fs::write(&path, file).unwrap();
    let line = words(&format!("--config {} {options}", path.display()));
    Config::load(line)
        .map_err(|error| error.to_string())
        .unwrap()
        .show()
}

fn refusal(file: &str) -> String {
    SettingsFile::parse(file, Path::new("plenum.toml"))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_file_sets_what_the_command_line_does_not() {
    let file = "http = '127.0.0.1:81'\nhttp-rate = 7\ninsecure = true\npublic-ip = ['203.0.113.5', '203.0.113.6:443']";
    let text = shown(file, "--http 127.0.0.1:82");
    for line in [
        "http = \"127.0.0.1:82\"  # command line",
        "http-rate = 7  # file",
        "insecure = true  # file",
        "public-ip = [\"203.0.113.5\", \"203.0.113.6:443\"]  # file",
        "http-burst = 200  # default",
        "# keys is not set",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn what_is_shown_can_be_read_back_and_says_the_same() {
    let once = shown(
        "log = 'info,plenum::http=debug'\ntoken-audience = '007'",
        "--shards 3",
    );
    let again = shown(&once, "");
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split("  #").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(&once), values(&again));
}

#[test]
fn a_secret_is_never_shown() {
    let secret = "0123456789abcdef0123456789abcdef";
    for text in [
        shown(&format!("key = '{secret}'"), ""),
        shown("", &format!("--key {secret}")),
    ] {
        assert!(
            text.contains("key = \"********\"") && !text.contains(secret),
            "{text}"
        );
    }
    let short = "0123456789abcdef";
    assert!(!refusal(&format!("key = '{short}'")).contains(short));
    let error = Config::load(words(&format!("--key {short}")))
        .map(|_| ())
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("--key") && text.contains("32 bytes") && !text.contains(short),
        "{text}"
    );
}

#[test]
fn a_file_that_cannot_be_used_is_refused_by_its_name_and_the_settings() {
    for (file, setting, reason) in [
        ("htpp = '127.0.0.1:80'", "htpp", "no such setting"),
        ("http = 'localhost'", "http", "invalid socket address"),
        ("http = 80", "http", "invalid socket address"),
        ("http-rate = -1", "http-rate", ""),
        ("insecure = 'yes'", "insecure", "true or false"),
        ("http = ['127.0.0.1:80']", "http", "one value"),
        ("log-format = 'xml'", "log-format", "xml"),
        ("[http]\nlisten = 1", "http", "a text or a number"),
        ("config = 'other.toml'", "config", "no such setting"),
    ] {
        let text = refusal(file);
        let start = format!("--config plenum.toml: {setting}: ");
        assert!(
            text.starts_with(&start) && text.contains(reason),
            "{file}: {text}"
        );
    }
    let text = refusal("http = '127.0.0.1:80'\nkey = 'a secret that does not end");
    assert!(text.starts_with("--config plenum.toml: line 2: "), "{text}");
    assert!(!text.contains("a secret"), "{text}");
    let missing = Config::load(words("--config /does/not/exist"))
        .map(|_| ())
        .unwrap_err();
    assert!(
        missing.to_string().contains("--config /does/not/exist"),
        "{missing}"
    );
}

#[test]
fn a_token_is_signed_with_the_key_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plenum.toml");
    std::fs::write(&path, "key = '0123456789abcdef0123456789abcdef'").unwrap();
    let line = format!(
        "--config {} token --room demo --identity ada",
        path.display()
    );
    let loaded = Config::load(words(&line))
        .map_err(|error| error.to_string())
        .unwrap();
    let Some(Action::Token(request)) = loaded.config.action else {
        panic!("another action");
    };
    assert!(request.mint(std::time::SystemTime::UNIX_EPOCH).is_ok());
}

#[test]
fn a_certificate_needs_its_key_wherever_either_is_set() {
    let refused = config("--tls-cert cert.pem")
        .check()
        .unwrap_err()
        .to_string();
    assert!(
        refused.starts_with("--tls-cert needs --tls-key"),
        "{refused}"
    );
    assert!(config("--tls-key key.pem").check().is_err());
    let both = "--tls-cert c --tls-key k --acme-domain sfu.example --acme-cache d";
    assert_eq!(config(both).check(), Err(ConfigError::TwoCertificates));
    assert_eq!(
        config("--tls-cert cert.pem --tls-key key.pem").check(),
        Ok(())
    );
}

#[test]
fn every_setting_has_one_name_everywhere_and_a_place_in_the_documentation() {
    let page = include_str!("../../docs/operations.md");
    for arg in Config::command().get_arguments() {
        let Some(long) = arg
            .get_long()
            .filter(|long| !["help", "version"].contains(long))
        else {
            continue;
        };
        let variable = format!("PLENUM_{}", long.to_uppercase().replace('-', "_"));
        assert_eq!(
            arg.get_env().and_then(|name| name.to_str()),
            Some(&*variable)
        );
        assert!(
            page.contains(&format!("| `--{long}` |")),
            "{long} is not in docs/operations.md"
        );
    }
}
