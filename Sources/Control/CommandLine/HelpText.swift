/// What `--help` prints: enough to get going without another page.
enum HelpText {
    static func text(_ command: CommandName?) -> String {
        switch command {
        case nil, .help?: overview
        case .serve?: serve
        case .check?: check
        case .doctor?: doctor
        case .top?: top
        case .version?: version
        }
    }

    private static let overview = """
        Sluice: an edge gateway on io_uring. Browsers reach TCP and UDP services over WebSocket through it.

        Usage: sluice COMMAND [FLAGS]

        Commands
          serve     run the gateway
          check     validate the configuration and print what is in force
          doctor    say what this kernel, container and user allow, and the remedy for what they do not
          top       watch a running gateway
          version   print the version
          help      help on a command, or `help configuration` for every key

        Get going
          sluice serve --demo              a demonstration on http://127.0.0.1:8080/demo, no network needed
          sluice serve                     the gateway on 0.0.0.0:8080 with safe egress rules
          sluice serve --config FILE       with a configuration
          AUTH_MODE=api_key API_KEY=… sluice serve --listen-addr 127.0.0.1:8090
                                           the UDP relay alone, as its variables and flags say
          sluice check --config FILE       look before you leap
          sluice COMMAND --help            the flags of a command

        """

    private static let options = """
          --config FILE      YAML configuration; `sluice help configuration` lists every key
          --set KEY=VALUE    one value, for example --set log.level=debug --set 'tcp.allowed_ports=[80, 443]';
                             may be repeated
          --port PORT        port of the first listener; 0 picks a free one and prints it
          --demo             start from the demonstration instead of from the defaults

        --route-file FILE names the routes.yaml of a JWT proxy that is started by its variables (JWKS_URL, …).

        Flags of the UDP relay (--listen-addr, --auth-mode, --max-sessions, …), one for each of its variables, are
        accepted too; `sluice help configuration` names them.

        Precedence: default, then flag, then file, then environment (PORT, SESSION_SECRET, TCP_ALLOWED_HOSTS, …; each
        also as NAME_FILE, the path of a file that holds the value), then flags of the UDP relay.

        """

    private static let serve = """
        Usage: sluice serve [FLAGS]

        Runs the gateway until SIGTERM or SIGINT. SIGHUP, or a change of the file, reloads the configuration. Logs go to
        standard output; when that is a file, SIGUSR1 opens it anew. With --check-config it does what `sluice check` does.

        \(options)
        Exit status: 0 after a complete drain; 1 when the configuration is wrong (2 of a UDP relay alone), an
        address cannot be bound, the kernel refuses io_uring, or the drain took longer than drain.grace.

        Examples
          sluice serve --demo
          sluice serve --port 9000 --set log.format=text
          SESSION_SECRET_FILE=/run/secrets/session sluice serve --config sluice.yaml

        """

    private static let check = """
        Usage: sluice check [FLAGS]

        Reads the same layers as `serve`, reports every fault with file, line, column and key, and prints the
        configuration in force as YAML. Secrets are masked; a comment tells where a value comes from.

        \(options)  --reference        print every key with type, default and environment variable instead

        Exit status: 0 when valid, 2 when not.

        """

    private static let doctor = """
        Usage: sluice doctor [FLAGS]

        Asks the kernel for everything the gateway needs and prints one line each: OK, WARN or FAIL, with the remedy.
        The flags are those of `serve`; the descriptor limit, memory and ports are judged by that configuration.

        \(options)
        Exit status: 0 when the gateway can run, 1 when something it needs is missing.

        """

    private static let top = """
        Usage: sluice top [FLAGS]

        Watches a running gateway through its admin interface: shards, rates, buffers, refusals, and the connections that
        carried most. On a terminal it refreshes every second and `q` quits; otherwise it prints one snapshot.

          --admin URL        the admin interface, http://IP:PORT; default http://127.0.0.1:9901
          --token-file FILE  file with its token; else SLUICE_ADMIN_TOKEN or SLUICE_ADMIN_TOKEN_FILE
          --once             one snapshot as plain text

        The gateway needs `admin: { address: "127.0.0.1:9901" }` in its configuration, or SLUICE_ADMIN_ADDRESS.

        Exit status: 0; 1 when the gateway cannot be asked.

        """

    private static let version = """
        Usage: sluice version

        Prints version, source revision and build time, as /version does.

        """
}
