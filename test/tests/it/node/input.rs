//! Bad input: refused with the flag or the field by name, and nothing has changed.

use warren_test::cluster::{Node, Runtime};

/// Arguments of `service create`, the exit code, and words that the answer must have.
const CREATE: &[(&[&str], i32, &[&str])] = &[
    (&["web", "--no-such-flag"], 2, &["--no-such-flag"]),
    (&["web"], 2, &["--image"]),
    (&["Web_1", "--image", "IMAGE"], 2, &["Web_1"]),
    (&["node", "--image", "IMAGE"], 2, &["node"]),
    (&["web", "--image", "IMAGE", "--port", "70000"], 2, &["--port", "70000"]),
    (&["web", "--image", "IMAGE", "--port", "a=80", "--port", "a=81"], 2, &["a"]),
    (&["web", "--image", "IMAGE", "--replicas", "-1"], 2, &["-1"]),
    (&["web", "--image", "IMAGE", "--replicas", "100000"], 2, &["replicas", "50000"]),
    (&["web", "--image", "IMAGE", "--memory", "twelve"], 2, &["--memory", "twelve"]),
    (&["web", "--image", "IMAGE", "--health-interval", "5"], 2, &["--health-interval"]),
    (&["web", "--image", "IMAGE", "--constraint", "disk~ssd"], 2, &["--constraint", "disk~ssd"]),
    (&["web", "--image", "IMAGE", "--env", "NOVALUE"], 2, &["--env", "NOVALUE"]),
    (&["web", "--image", "IMAGE", "--publish", "8080:8080"], 1, &["--publish", "DNS name"]),
    (&["web", "--image", "IMAGE", "--mount", "type=tmpfs,target=/x"], 1, &["--mount", "Docker"]),
    (&["web", "--image", "no-such-image-here:none", "--pull", "never"], 1, &["no-such-image"]),
];

#[tokio::test]
async fn a_service_that_cannot_be_is_refused() {
    let node = Node::start(Runtime::Process).await.unwrap();
    let image = Runtime::Process.web_image("v1").await.unwrap();
    for (arguments, code, words) in CREATE {
        let given = arguments.iter().map(|word| if *word == "IMAGE" { &*image } else { *word });
        let given: Vec<&str> = ["service", "create"].into_iter().chain(given).collect();
        let said = node.command(&given).await.unwrap();
        assert_eq!(said.code, Some(*code), "{arguments:?}: {said:?}");
        for word in *words {
            assert!(said.talk.contains(word), "{arguments:?} does not say {word}: {said:?}");
        }
        assert_eq!(said.out, "", "{arguments:?}");
    }
    let left = node.json(&["service", "ls"]).await.unwrap();
    assert_eq!(left, serde_json::json!([]), "nothing was stored");
}

#[tokio::test]
async fn a_name_that_is_nearly_right_gets_a_suggestion() {
    let node = Node::start(Runtime::Process).await.unwrap();
    let image = Runtime::Process.web_image("v1").await.unwrap();
    let create = ["service", "create", "frontend", "--image", &image, "--detach"];
    node.ok(&create).await.unwrap();
    let said = node.command(&["service", "inspect", "fronted"]).await.unwrap();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.talk.contains("frontend"), "{said:?}");
    let said = node.command(&["why", "frontend.9"]).await.unwrap();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.talk.contains("has no task 9"), "{said:?}");
    let said = node.command(&["servise", "ls"]).await.unwrap();
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.talk.contains("service"), "{said:?}");
}

#[tokio::test]
async fn a_manifest_is_taken_whole_or_not_at_all() {
    let node = Node::start(Runtime::Process).await.unwrap();
    let image = Runtime::Process.web_image("v1").await.unwrap();
    let good = format!("name: good\nimage: {image}\nreplicas: 0\n");
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n";
    let cases = [
        (format!("{good}---\nname: bad\nimage: {image}\nreplicaz: 3\n"), "replicaz"),
        (format!("{good}---\nname: bad\nimage: {image}\nreplicas: -3\n"), "replicas"),
        (format!("{good}---\nname: [\n"), "line"),
        (bomb.to_owned(), "line"),
    ];
    for (manifest, word) in &cases {
        let said = node.command_with_input(&["apply", "-f", "-"], manifest).await.unwrap();
        assert_eq!(said.code, Some(2), "{manifest}: {said:?}");
        assert!(said.talk.contains(word), "{manifest}: {said:?}");
        let left = node.json(&["service", "ls"]).await.unwrap();
        assert_eq!(left, serde_json::json!([]), "{manifest}");
    }
    let latin = node.scratch("latin.yaml");
    std::fs::write(&latin, [good.as_bytes(), b"user: J\xf6rg\n"].concat()).unwrap();
    let said = node.command(&["apply", "-f", latin.to_str().unwrap()]).await.unwrap();
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.talk.contains("latin.yaml: not UTF-8 from byte"), "{said:?}");
    let said = node.command_with_input(&["apply", "-f", "-"], &good).await.unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn wrong_options_are_named_as_they_were_given() {
    let node = Node::start(Runtime::Process).await.unwrap();
    let lifetime = "--lifetime: write from a minute";
    let cases: [(&[&str], &str); 4] = [
        (&["cluster", "token", "--lifetime", "1s"], lifetime),
        (&["token", "create", "ann", "--role", "viewer", "--lifetime", "800d"], lifetime),
        (&["token", "create", "ann", "--role", "captain"], "--role: captain alone opens nothing"),
        (&["token", "create", "Ann B", "--role", "viewer"], "NAME: \"Ann B\" is not a name:"),
    ];
    for (arguments, says) in cases {
        let said = node.command(arguments).await.unwrap();
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.talk.contains(says), "{said:?}");
        assert!(!said.talk.contains("lifetime_ms"), "{said:?}");
    }
    for word in ["up", "status"] {
        let mut warren = tokio::process::Command::new(warren_test::binary::warren().unwrap());
        let said = warren.arg(word).env("WARREN_DATA_DIR", "").output().await.unwrap();
        assert_eq!(said.status.code(), Some(2), "{word}: {said:?}");
        let talk = String::from_utf8_lossy(&said.stderr);
        assert!(talk.contains("WARREN_DATA_DIR"), "{word}: {talk}");
    }
}

#[tokio::test]
async fn init_makes_a_cluster_where_there_is_none() {
    let node = Node::stopped(Runtime::Process, &[]).unwrap();
    let any = "127.0.0.1:0";
    let init = ["cluster", "init", "--runtime", "process", "--http", any, "--dns", any];
    node.ok(&[&init[..], &["--listen", any, "--detach"]].concat()).await.unwrap();
    assert_eq!(node.json(&["cluster", "info"]).await.unwrap()["nodes_up"], 1);
    let said = node.command(&init).await.unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains("has a cluster already"), "{said:?}");
    let said = node.command(&["cluster", "init", "--join", "127.0.0.1:1"]).await.unwrap();
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.talk.contains("--join is for a cluster that exists"), "{said:?}");
    // It runs detached, so it would outlive the test.
    node.ok(&["down", "--yes"]).await.unwrap();
}
