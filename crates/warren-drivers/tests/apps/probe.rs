//! The program that the runtime contract runs as a task: its first argument says what it does. Compiled alone and
//! statically, so that it runs in an otherwise empty image.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).map_or(0, |text| text.parse().unwrap());
    match args.first().map(String::as_str) {
        Some("sleep") => {
            println!("ready");
            forever();
        }
        Some("exit") => std::process::exit(number(1)),
        Some("exit-after") => {
            std::thread::sleep(Duration::from_millis(number(1).try_into().unwrap()));
            std::process::exit(number(2));
        }
        Some("lines") => {
            for i in 0..number(1) {
                println!("out {i}");
                eprintln!("err {i}");
            }
            std::process::exit(number(2));
        }
        Some("tick") => {
            for i in 0..number(1) {
                println!("tick {i}");
                std::thread::sleep(Duration::from_millis(number(2).try_into().unwrap()));
            }
        }
        Some("long") => {
            println!("{}", "x".repeat(number(1).try_into().unwrap()));
            std::io::stdout().write_all(b"end \xff.\n").unwrap();
        }
        Some("show") => show(&args),
        Some("serve") => serve(number(1).try_into().unwrap()),
        Some("eat") => {
            let mut food = vec![0_u8; usize::try_from(number(1)).unwrap() << 20];
            food.iter_mut().step_by(512).for_each(|byte| *byte = 1);
            println!("ate {}", food.iter().map(|byte| u64::from(*byte)).sum::<u64>());
            forever();
            drop(food);
        }
        Some("burn") => loop {
            std::hint::spin_loop();
        },
        Some("cat") => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).unwrap();
            std::io::stdout().write_all(&text).unwrap();
            eprintln!("end");
            std::process::exit(3);
        }
        Some("terminal") => {
            let (input, out, err) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
            let terminals = (input.is_terminal(), out.is_terminal(), err.is_terminal());
            println!("terminal {} {} {}", terminals.0, terminals.1, terminals.2);
            let mut line = String::new();
            input.lock().read_line(&mut line).unwrap();
            println!("read {line}");
        }
        // Writes to a path, for mounts.
        Some("write") => std::fs::write(&args[1], &args[2]).unwrap_or_else(|error| {
            eprintln!("{error}");
            std::process::exit(1);
        }),
        Some("read") => print!("{}", std::fs::read_to_string(&args[1]).unwrap()),
        other => {
            eprintln!("unknown: {other:?}");
            std::process::exit(2);
        }
    }
}

fn forever() {
    loop {
        std::thread::park();
    }
}

fn show(args: &[String]) {
    for (name, value) in std::env::vars() {
        println!("env {name}={value}");
    }
    println!("arg {}", args.join("|"));
    println!("cwd {}", std::env::current_dir().unwrap().display());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for (field, word) in [("Uid:", "uid"), ("Gid:", "gid")] {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        println!("{word} {}", line.split_whitespace().next().unwrap());
    }
}

fn serve(port: u16) {
    let address = std::env::var("WARREN_ADDRESS").unwrap();
    let listener = std::net::TcpListener::bind((address.as_str(), port)).unwrap();
    for stream in listener.incoming() {
        writeln!(stream.unwrap(), "{}", std::env::var("WARREN_TASK").unwrap()).unwrap();
    }
}
