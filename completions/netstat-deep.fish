# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_netstat_deep_global_optspecs
    string join \n h/help V/version
end

function __fish_netstat_deep_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_netstat_deep_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_netstat_deep_using_subcommand
    set -l cmd (__fish_netstat_deep_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -s h -l help -d 'Print help'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -s V -l version -d 'Print version'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "rx" -d 'Report on the receive path: what came in, what was lost where, who was hurt, which setting binds'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "tx" -d 'Report on the send path: what was sent again, refused or lost on its way to a device, why, and which setting binds'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "drops" -d 'Show every packet that the kernel drops: reason, place, device, victim, and whether that is normal (eBPF)'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "sockets" -d 'Rank sockets by what is wrong with them: lost packets, full queues and buffers, what holds them back, whose they are'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "topology" -d 'Show which CPU works for which queue: device, queue, NAPI, interrupt, CPU, NUMA node, and what is crooked in it'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "tune" -d 'Show what the findings suggest as one plan; with --apply make the change and see whether it helped'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "confirm" -d 'Keep a change that was made with --confirm-within'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "revert" -d 'Take back what --apply changed: the newest change, a given one, or all'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "history" -d 'List the changes that --apply made, and what became of them'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "record" -d 'Record what this host tells, so that rx, tx and tune can look at it elsewhere and later (with --root)'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "explain" -d 'Explain a counter, rule, knob, stage or drop reason: what it is, what to do, what not to do'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "doctor" -d 'Show what this kernel, these privileges and this container allow, what is lost, and how to get it'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "guard" -d 'Wait, and take a change back that is not confirmed'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "generate" -d 'Write the papers made from the code: man pages, completions, JSON schema'
complete -c netstat-deep -n "__fish_netstat_deep_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -s i -l interval -d 'Length of the window: 1s, 500ms, 2m. 0 shows the totals since boot' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -s n -l count -d 'How many windows, one after the other; 0 is without end' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -s o -l output -d 'How to show it' -r -f -a "table\t'For people'
json\t'One JSON document'
jsonl\t'A JSON document a line'
openmetrics\t'For Prometheus'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l dev -d 'Of the devices, show only this one' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l netns -d 'Look at this network namespace: a name that \'ip netns\' knows, a path, or pid:N; all: at every one on this host, a line each (reports only, no plans)' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l root -d 'Read a recorded tree of /proc and /sys instead of this host; two samples if it holds before/ and after/' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l check -d 'Exit with 1 if there is a finding of this severity or above' -r -f -a "info\t'Good to know; nobody need act'
warning\t'Packets are lost, or soon will be'
critical\t'Packets are lost now, and many of them'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l ignore -d 'Leave out findings of this rule, or of this rule for this instance' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l thresholds -d 'Limits of rules other than the built-in ones: a TOML file with a table per rule' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l probes -d 'Whether to count dropped packets in the kernel too (eBPF), which tells what no counter knows; auto: if it is permitted here' -r -f -a "auto\t'If they are permitted here'
on\t'Or fail'
off\t'Counters only'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l apply -d 'Make the changes that the findings suggest; all: also those that carry a high risk or are no sysctls' -r -f -a "usual\t'Sysctls that carry a low or medium risk'
all\t'Also what carries a high risk, and what is no sysctl'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l only -d 'Of the settings, change only this one' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l verify -d 'Length of the windows before and after the change, by which it is judged: the interval, or 10s if no time is given' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l confirm-within -d 'Take the change back unless \'netstat-deep confirm\' comes within this time, also if this terminal is lost' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l root-etc -d 'The folder to keep it in, instead of /etc' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l state-dir -d 'Where changes are written down before they are made' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l watch -d 'A live screen: window after window in the same place, until it is interrupted'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l json -d 'One JSON document, the same as --output json'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l jsonl -d 'A JSON document a line and window, the same as --output jsonl'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -s v -l verbose -d 'Show the counters that moved too; twice, also those that did not, and the sources'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l dry-run -d 'Show what --apply would do, exactly, and change nothing'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l yes -d 'Do not ask'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l keep -d 'Keep a change that had no effect or hurt'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -l persist -d 'Keep the change over a reboot, in sysctl.d or a udev rule; revert removes it again'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand rx" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -s i -l interval -d 'Length of the window: 1s, 500ms, 2m. 0 shows the totals since boot' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -s n -l count -d 'How many windows, one after the other; 0 is without end' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -s o -l output -d 'How to show it' -r -f -a "table\t'For people'
json\t'One JSON document'
jsonl\t'A JSON document a line'
openmetrics\t'For Prometheus'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l dev -d 'Of the devices, show only this one' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l netns -d 'Look at this network namespace: a name that \'ip netns\' knows, a path, or pid:N; all: at every one on this host, a line each (reports only, no plans)' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l root -d 'Read a recorded tree of /proc and /sys instead of this host; two samples if it holds before/ and after/' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l check -d 'Exit with 1 if there is a finding of this severity or above' -r -f -a "info\t'Good to know; nobody need act'
warning\t'Packets are lost, or soon will be'
critical\t'Packets are lost now, and many of them'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l ignore -d 'Leave out findings of this rule, or of this rule for this instance' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l thresholds -d 'Limits of rules other than the built-in ones: a TOML file with a table per rule' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l probes -d 'Whether to count dropped packets in the kernel too (eBPF), which tells what no counter knows; auto: if it is permitted here' -r -f -a "auto\t'If they are permitted here'
on\t'Or fail'
off\t'Counters only'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l apply -d 'Make the changes that the findings suggest; all: also those that carry a high risk or are no sysctls' -r -f -a "usual\t'Sysctls that carry a low or medium risk'
all\t'Also what carries a high risk, and what is no sysctl'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l only -d 'Of the settings, change only this one' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l verify -d 'Length of the windows before and after the change, by which it is judged: the interval, or 10s if no time is given' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l confirm-within -d 'Take the change back unless \'netstat-deep confirm\' comes within this time, also if this terminal is lost' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l root-etc -d 'The folder to keep it in, instead of /etc' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l state-dir -d 'Where changes are written down before they are made' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l watch -d 'A live screen: window after window in the same place, until it is interrupted'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l json -d 'One JSON document, the same as --output json'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l jsonl -d 'A JSON document a line and window, the same as --output jsonl'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -s v -l verbose -d 'Show the counters that moved too; twice, also those that did not, and the sources'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l dry-run -d 'Show what --apply would do, exactly, and change nothing'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l yes -d 'Do not ask'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l keep -d 'Keep a change that had no effect or hurt'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -l persist -d 'Keep the change over a reboot, in sysctl.d or a udev rule; revert removes it again'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tx" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -s i -l interval -d 'Length of the window: 1s, 500ms, 2m' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -s n -l count -d 'How many windows, one after the other; 0 is without end' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l by -d 'What a line of the table stands for' -r -f -a "reason\t'Why'
location\t'The kernel function that dropped it'
stage\t'The stage of the packet\'s path'
device\t'The network device'
netns\t'The network namespace'
process\t'The process whose socket lost it'
unit\t'The systemd unit of that process'
flow\t'From where to where it went'
rule\t'The firewall rule, program or setting that refused it'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l reason -d 'Only drops of this reason: NO_SOCKET, SOCKET_RCVBUFF ...' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l netns -d 'Only drops in this network namespace: a name that \'ip netns\' knows, a path, or pid:N' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l dev -d 'Only drops of packets from or to this device' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l pcap -d 'Write the dropped packets into this file (pcapng), for tcpdump and Wireshark' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l rate -d 'Of single drops, take so many a second and CPU at most; those left out are counted' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l rows -d 'Keep so many rows (reason, place, device, namespace, protocol) apart; more are counted by reason alone' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l max-cpu -d 'Give up what every packet passes when it takes more than this share of a CPU' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l source -d 'Where the drops are counted; auto: by the kernel\'s drop monitor if BPF is refused, which tells less' -r -f -a "auto\t'By BPF if it is permitted here, else by the drop monitor'
bpf\t'By our program in the kernel'
drop-monitor\t'By the kernel\'s drop monitor: reason, function and protocol only'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l watch -d 'A live screen: window after window in the same place, until it is interrupted'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l harmless -d 'Show the drops too that nobody needs to care for'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l flows -d 'Keep addresses and ports: also in JSON'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l stack -d 'Keep the kernel\'s call stacks'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l each -d 'Show every single drop as it comes, a line each, before what they add up to; with --jsonl as JSON'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l per-packet -d 'Also watch what every sent packet passes: drivers that refuse packets or are busy'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l raw -d 'Use raw tracepoints, as on kernels that refuse typed ones'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l json -d 'One JSON document'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -l jsonl -d 'A JSON document a line and window'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -s v -l verbose -d 'Show what the probe cost, and the places; also what the kernel\'s verifier says if it refuses'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand drops" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -s i -l interval -d 'Length of the window: 1s, 500ms, 2m. 0 shows the totals of the sockets\' lives' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -s n -l count -d 'How many windows, one after the other; 0 is without end' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -s o -l output -d 'How to show it' -r -f -a "table\t'For people'
json\t'One JSON document'
jsonl\t'A JSON document a line'
openmetrics\t'For Prometheus'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l by -d 'What to rank them by' -r -f -a "trouble\t'What is wrong with them, the worst first'
drops\t'Packets lost'
queue\t'Bytes that lie unread'
age\t'How long the last of them has waited'
accept\t'How full a listener\'s accept queue is'
backlog\t'Bytes received while the application held the socket'
buffer\t'How full the fuller one of both buffers is'
sendbuf\t'The share of time that the send buffer held it back'
window\t'The share of time that the peer\'s window held it back'
retrans\t'The share of segments sent again'
rtt\t'The round-trip time as a multiple of the least'
sent\t'Bytes sent and acknowledged'
received\t'Bytes received'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l top -d 'How many to show' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l transport -d 'Only sockets that speak this' -r -f -a "tcp\t'TCP'
udp\t'UDP'
raw\t'Raw IP'
unix\t'Between processes of this host'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l state -d 'Only sockets in this state' -r -f -a "established\t''
syn-sent\t''
syn-recv\t''
fin-wait1\t''
fin-wait2\t''
time-wait\t''
close\t''
close-wait\t''
last-ack\t''
listen\t''
closing\t''"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l port -d 'Only sockets with this port, at either end' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l pid -d 'Only sockets of this process' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l unit -d 'Only sockets of the processes of this systemd unit' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l dev -d 'Only sockets of this device: bound to it or to one of its addresses, and connections that send over it' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l netns -d 'Look at this network namespace: a name that \'ip netns\' knows, a path, or pid:N' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l root -d 'Read a recorded tree instead of this host; two samples if it holds before/ and after/' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l check -d 'Exit with 1 if a socket\'s trouble is of this severity or above' -r -f -a "info\t'Good to know; nobody need act'
warning\t'Packets are lost, or soon will be'
critical\t'Packets are lost now, and many of them'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l watch -d 'A live screen: window after window in the same place, until it is interrupted'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l json -d 'One JSON document, the same as --output json'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -l jsonl -d 'A JSON document a line and window, the same as --output jsonl'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -s v -l verbose -d 'Show all listeners, more networks and destinations, and how the sources went'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand sockets" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -s i -l interval -d 'Length of the window: 1s, 500ms, 2m. 0 shows what leads where, and no rates' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -s n -l count -d 'How many windows, one after the other; 0 is without end' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -s o -l output -d 'How to show it' -r -f -a "table\t'For people'
json\t'One JSON document'
jsonl\t'A JSON document a line'
openmetrics\t'For Prometheus'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l dev -d 'Of the devices, show only this one' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l netns -d 'Look at this network namespace: a name that \'ip netns\' knows, a path, or pid:N' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l root -d 'Read a recorded tree of /proc and /sys instead of this host; two samples if it holds before/ and after/' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l check -d 'Exit with 1 if there is a finding of this severity or above' -r -f -a "info\t'Good to know; nobody need act'
warning\t'Packets are lost, or soon will be'
critical\t'Packets are lost now, and many of them'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l ignore -d 'Leave out findings of this rule, or of this rule for this instance' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l thresholds -d 'Limits of rules other than the built-in ones: a TOML file with a table per rule' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l watch -d 'A live screen: window after window in the same place, until it is interrupted'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l json -d 'One JSON document, the same as --output json'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -l jsonl -d 'A JSON document a line and window, the same as --output jsonl'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -s v -l verbose -d 'Show the queues and CPUs that did nothing, interrupts that serve no queue, and the sources too'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand topology" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -s i -l interval -d 'Length of the window: 1s, 500ms, 2m. 0 shows the totals since boot' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -s n -l count -d 'How many windows, one after the other; 0 is without end' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -s o -l output -d 'How to show it' -r -f -a "table\t'For people'
json\t'One JSON document'
jsonl\t'A JSON document a line'
openmetrics\t'For Prometheus'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l dev -d 'Of the devices, show only this one' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l netns -d 'Look at this network namespace: a name that \'ip netns\' knows, a path, or pid:N; all: at every one on this host, a line each (reports only, no plans)' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l root -d 'Read a recorded tree of /proc and /sys instead of this host; two samples if it holds before/ and after/' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l check -d 'Exit with 1 if there is a finding of this severity or above' -r -f -a "info\t'Good to know; nobody need act'
warning\t'Packets are lost, or soon will be'
critical\t'Packets are lost now, and many of them'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l ignore -d 'Leave out findings of this rule, or of this rule for this instance' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l thresholds -d 'Limits of rules other than the built-in ones: a TOML file with a table per rule' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l probes -d 'Whether to count dropped packets in the kernel too (eBPF), which tells what no counter knows; auto: if it is permitted here' -r -f -a "auto\t'If they are permitted here'
on\t'Or fail'
off\t'Counters only'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l apply -d 'Make the changes that the findings suggest; all: also those that carry a high risk or are no sysctls' -r -f -a "usual\t'Sysctls that carry a low or medium risk'
all\t'Also what carries a high risk, and what is no sysctl'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l only -d 'Of the settings, change only this one' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l verify -d 'Length of the windows before and after the change, by which it is judged: the interval, or 10s if no time is given' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l confirm-within -d 'Take the change back unless \'netstat-deep confirm\' comes within this time, also if this terminal is lost' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l root-etc -d 'The folder to keep it in, instead of /etc' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l state-dir -d 'Where changes are written down before they are made' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l watch -d 'A live screen: window after window in the same place, until it is interrupted'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l json -d 'One JSON document, the same as --output json'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l jsonl -d 'A JSON document a line and window, the same as --output jsonl'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -s v -l verbose -d 'Show the counters that moved too; twice, also those that did not, and the sources'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l dry-run -d 'Show what --apply would do, exactly, and change nothing'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l yes -d 'Do not ask'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l keep -d 'Keep a change that had no effect or hurt'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -l persist -d 'Keep the change over a reboot, in sysctl.d or a udev rule; revert removes it again'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand tune" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand confirm" -l state-dir -d 'Where changes are written down' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand confirm" -s h -l help -d 'Print help'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand revert" -l state-dir -d 'Where changes are written down' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand revert" -l all -d 'All changes'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand revert" -s h -l help -d 'Print help'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand history" -l state-dir -d 'Where changes are written down' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand history" -l json -d 'As JSON'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand history" -l verify -d 'Look again at changes of which it is not known yet what they did; take back what had no effect or hurt'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand history" -l keep -d 'Keep those, too'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand history" -s h -l help -d 'Print help'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand record" -l bundle -d 'The folder to make for the recording' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand record" -s i -l interval -d 'Time between the two samples: 1s, 500ms, 2m. 0 takes one sample: the totals since boot' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand record" -l netns -d 'Record this network namespace: a name that \'ip netns\' knows, a path, or pid:N' -r
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand record" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand record" -l redact -d 'Replace addresses and the names of the host, of devices, processes, cgroups and namespaces, each by the same one everywhere, and leave out what can\'t be: for a recording that strangers may see'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand record" -l json -d 'Show the report on what was recorded as one JSON document'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand record" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand explain" -l list -d 'List all that can be explained, by kind and in each by stage; or one kind' -r -f -a "all\t'Everything'
stages\t'Stages of the packet\'s path'
rules\t'What can be wrong'
knobs\t'What can be turned'
counters\t'What is counted'
reasons\t'Why the kernel drops a packet'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand explain" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand doctor" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Also in a pipe'
never\t'Never'"
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand doctor" -l json -d 'As JSON'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand doctor" -s v -l verbose -d 'Show each hook and source too'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand guard" -l state-dir -d 'Where changes are written down' -r -F
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand guard" -s h -l help -d 'Print help'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand generate" -s h -l help -d 'Print help'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "rx" -d 'Report on the receive path: what came in, what was lost where, who was hurt, which setting binds'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "tx" -d 'Report on the send path: what was sent again, refused or lost on its way to a device, why, and which setting binds'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "drops" -d 'Show every packet that the kernel drops: reason, place, device, victim, and whether that is normal (eBPF)'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "sockets" -d 'Rank sockets by what is wrong with them: lost packets, full queues and buffers, what holds them back, whose they are'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "topology" -d 'Show which CPU works for which queue: device, queue, NAPI, interrupt, CPU, NUMA node, and what is crooked in it'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "tune" -d 'Show what the findings suggest as one plan; with --apply make the change and see whether it helped'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "confirm" -d 'Keep a change that was made with --confirm-within'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "revert" -d 'Take back what --apply changed: the newest change, a given one, or all'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "history" -d 'List the changes that --apply made, and what became of them'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "record" -d 'Record what this host tells, so that rx, tx and tune can look at it elsewhere and later (with --root)'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "explain" -d 'Explain a counter, rule, knob, stage or drop reason: what it is, what to do, what not to do'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "doctor" -d 'Show what this kernel, these privileges and this container allow, what is lost, and how to get it'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "guard" -d 'Wait, and take a change back that is not confirmed'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "generate" -d 'Write the papers made from the code: man pages, completions, JSON schema'
complete -c netstat-deep -n "__fish_netstat_deep_using_subcommand help; and not __fish_seen_subcommand_from rx tx drops sockets topology tune confirm revert history record explain doctor guard generate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
