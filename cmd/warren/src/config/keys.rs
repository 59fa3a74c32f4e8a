//! The keys of a node's configuration.

/// One key, as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file; `WARREN_` and the name in capitals in the environment, `--` and the name with dashes as
    /// a flag.
    pub name: &'static str,
    /// What a value looks like, with its unit.
    pub value: &'static str,
    /// The default as it would be written.
    pub default: &'static str,
    /// The version that brought it.
    pub since: &'static str,
    /// What it means.
    pub about: &'static str,
}

impl Key {
    /// The environment variable that sets it.
    pub fn env(&self) -> String {
        format!("WARREN_{}", self.name.to_uppercase())
    }

    /// What stands between the items of a list: a comma, or a semicolon where an item may have commas itself.
    pub fn separator(&self) -> &'static str {
        if self.name == FREEZE_WINDOWS { ";" } else { "," }
    }
}

/// The key whose items have cron's commas in them.
pub const FREEZE_WINDOWS: &str = "freeze_windows";

/// All keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        value: "path",
        default: crate::client::DATA_DIR,
        since: "0.1.0",
        about: "Where the node keeps everything: its part of the cluster's state, its identity, images and files of \
                the process runtime, and the socket for the command line. Made with mode 0700 where missing. One \
                process at a time uses it.",
    },
    Key {
        name: "runtime",
        value: "`auto`, `docker` or `process`",
        default: "auto",
        since: "0.1.0",
        about: "What runs the tasks. `auto` takes Docker where its socket answers at the start, and processes where \
                not; a node that has run tasks keeps its runtime.",
    },
    Key {
        name: "docker_socket",
        value: "path",
        default: "/var/run/docker.sock",
        since: "0.1.0",
        about: "Where Docker listens.",
    },
    Key {
        name: "http",
        value: "address and port, or `off`",
        default: "127.0.0.1:7401",
        since: "0.1.0",
        about: "Where `/metrics`, `/healthz` and `/readyz` are served. Port 0 takes any free port.",
    },
    Key {
        name: "metrics_alias_prefix",
        value: "beginning of a metric's name, as in `veritas_`",
        default: "",
        since: "0.1.0",
        about: "The metrics of releases are served under this prefix besides `warren_`, for dashboards and alerts that \
                ask for other names. Empty: under `warren_` alone.",
    },
    Key {
        name: "dns",
        value: "address and port",
        default: "127.0.0.1:7453",
        since: "0.1.0",
        about: "Where DNS is served for this machine, by UDP and TCP. Containers ask the gateway of their own network, \
                port 53, besides. Port 0 takes any free port.",
    },
    Key {
        name: "dns_upstreams",
        value: "list of addresses, each with or without a port",
        default: "",
        since: "0.1.0",
        about: "Who is asked for names outside the zone. Empty: the resolvers of `/etc/resolv.conf`. `off`: nobody, \
                other names are refused.",
    },
    Key {
        name: "store",
        value: "`redb` or `sled`",
        default: "redb",
        since: "0.1.0",
        about: "What keeps the cluster's state on disk. Cannot change once the data directory has one.",
    },
    Key {
        name: "zone",
        value: "domain name",
        default: "warren",
        since: "0.1.0",
        about: "The DNS zone of a new cluster: service `web` is found as `web.warren`. Fixed once the cluster is made.",
    },
    Key {
        name: "pool",
        value: "IPv4 network, /8 to /23",
        default: "10.210.0.0/16",
        since: "0.1.0",
        about: "Where the nodes of a new cluster get the addresses of their tasks from, a /24 each. Must not overlap a \
                route of this machine. Fixed once the cluster is made. The process runtime takes loopback addresses \
                instead.",
    },
    Key {
        name: "network",
        value: "`auto`, `host-gw`, `vxlan`, `wireguard` or `none`",
        default: "auto",
        since: "0.1.0",
        about: "How containers of this node and of others reach each other. `host-gw`: plain routes, for machines on one \
                link. `vxlan`: a tunnel over UDP port 7402, not encrypted. `wireguard`: encrypted or not at all, also \
                to nodes with another setting. `auto`: plain routes to machines on the link; to others WireGuard \
                where both ends have it, tunnels where not. `none`: not at all. Tasks that are processes have no part \
                in it.",
    },
    Key {
        name: "wireguard_port",
        value: "port of UDP",
        default: "7403",
        since: "0.1.0",
        about: "Where this node speaks WireGuard under `wireguard` and `auto`. The other nodes are told.",
    },
    Key {
        name: "wireguard_sockets",
        value: "path",
        default: "/var/run/wireguard",
        since: "0.1.0",
        about: "Where programs that speak WireGuard in the kernel's place, as `wireguard-go` does, have their sockets. One \
                that runs there under the name of Warren's device is used.",
    },
    Key {
        name: "listen",
        value: "address and port",
        default: "0.0.0.0:7400",
        since: "0.1.0",
        about: "Where other machines reach this node: a manager serves their nodes, their command lines and other \
                managers there, a worker only proves to other nodes that it lives. All of it is TLS \
                with certificates of the cluster. Port 0 takes any free port. A worker does its work without.",
    },
    // A pipeline that asks all the time makes some tens.
    Key {
        name: "calls_per_second",
        value: "number, 0 for no limit",
        default: "500",
        since: "0.1.0",
        about: "How many calls a person, a program, or an address without a token may make at a manager in a second, \
                twice as many at once. One more is refused with RESOURCE_EXHAUSTED and when to try again. Nodes and \
                root of the manager's machine have no limit.",
    },
    Key {
        name: "certificate_life",
        value: "duration, `10s` to `366d`",
        default: "90d",
        since: "0.1.0",
        about: "How long the certificates live that this manager signs. Nodes renew theirs between 50 and 80 % of that; \
                one that was off for longer gets another with its key.",
    },
    Key {
        name: "advertise",
        value: "IP address",
        default: "",
        since: "0.1.0",
        about: "Where other nodes reach this machine. Empty: the address that it sends from.",
    },
    Key {
        name: "join",
        value: "host and port of a manager",
        default: "",
        since: "0.1.0",
        about: "The cluster that a new node joins. A node that has joined already goes on in its cluster, and looks for its \
                managers there first: so it finds a cluster that was restored elsewhere. It needs no token then.",
    },
    Key {
        name: "token",
        value: "what `warren cluster token` printed",
        default: "",
        since: "0.1.0",
        about: "What lets a new node in, and says whom it may trust. Better in a file or the environment than in a flag: \
                flags can be seen by every user of the machine.",
    },
    Key {
        name: "hostname",
        value: "host name",
        default: "",
        since: "0.1.0",
        about: "The node's name in the cluster, in placement conditions and in DNS (`NAME.node.warren`). Empty: the \
                machine's own name.",
    },
    Key {
        name: "node_label",
        value: "list or table of KEY=VALUE",
        default: "",
        since: "0.1.0",
        about: "Labels of the node, for placement conditions and spreading. `warren node label` adds others.",
    },
    Key {
        name: "log",
        value: "`error`, `warn`, `info`, `debug`, `trace`, or a filter as in `info,warren_agent=debug`",
        default: "info",
        since: "0.1.0",
        about: "The least important messages that are logged, to standard error. Those of the consensus library only \
                from `warn` on, unless a filter names it, as in `info,openraft=info`.",
    },
    Key {
        name: "log_format",
        value: "`text` or `json`",
        default: "text",
        since: "0.1.0",
        about: "How messages are logged: for people, or one JSON object a line.",
    },
    Key {
        name: FREEZE_WINDOWS,
        value: "list of MINUTE HOUR DAY MONTH WEEKDAY DURATION REASON; as text separated by semicolons",
        default: "",
        since: "0.1.0",
        about: "When all releases are held, in UTC: the five fields of cron say when a window opens, the duration (`1m` \
                to `62d`) how long it is open, and the rest why, as in `0 18 * * 5 62h weekend`. The windows of the \
                node that leads count, by its wall clock. A freeze that a person made is left alone.",
    },
    Key {
        name: "stop_timeout",
        value: "duration",
        default: "20s",
        since: "0.1.0",
        about: "How long everything together has to stop after SIGTERM before it is cut off. Tasks are not stopped.",
    },
];
