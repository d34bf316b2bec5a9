// sluice-load: load for gateways and forwarders, WebSocket and raw TCP. `sluice-load` alone prints how to use it.

import Glibc

guard let options = Options.parse(Array(CommandLine.arguments.dropFirst())) else {
    complain(Options.usage)
    exit(2)
}
signal(SIGPIPE, SIG_IGN)
var limit = rlimit()
getrlimit(__rlimit_resource_t(7), &limit)
limit.rlim_cur = limit.rlim_max
setrlimit(__rlimit_resource_t(7), &limit)
// Open-loop waits are short: without this the kernel may lengthen each by 50 microseconds.
if let slack = fopen("/proc/self/timerslack_ns", "w") {
    fputs("1", slack)
    fclose(slack)
}

do {
    let report = try Run(options: options).perform()
    print(options.writesJSON ? report.json : report.human)
} catch let error as LoadError {
    complain("sluice-load: \(error.text)")
    exit(1)
}
