// sluice-target: the services that load runs against, cheap enough to share a core with the load.

import Glibc

guard let options = Options.parse(Array(CommandLine.arguments.dropFirst())) else {
    print(Options.usage)
    exit(2)
}
signal(SIGPIPE, SIG_IGN)
var limit = rlimit()
getrlimit(__rlimit_resource_t(7), &limit)
limit.rlim_cur = limit.rlim_max
setrlimit(__rlimit_resource_t(7), &limit)
Server(options: options).run()
