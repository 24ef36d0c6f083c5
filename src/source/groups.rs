//! The kernel's tables: what each is called, what its rows stand for, how wide its cells are, and which file holds it.

use super::sheet::Sheet;
use super::{lists, text};
use crate::model::{Group, Scope};

/// Declares tables that are alike in all but their name.
macro_rules! groups {
    ($($(#[doc = $doc:literal])+ $name:ident: $id:literal, $scope:ident, $bits:literal bits $(, $folded:ident)?,
       $origin:literal, $kernel:literal;)*) => {
        $($(#[doc = $doc])+ pub static $name: Group = Group {
            id: $id, scope: Scope::$scope, bits: $bits, folded: groups!(@ $($folded)?), origin: $origin, kernel: $kernel,
        };)*
        /// Every table that is read.
        pub static GROUPS: &[&Group] = &[$(&$name),*];
    };
    (@ folded) => { true };
    (@) => { false };
}

// SNMP counters are unsigned long per CPU, added up on reading: 64 bits on 64-bit kernels. Cells printed as %08x are
// unsigned int, except the neighbour statistics, which are unsigned long.
groups! {
    /// Per-CPU receive statistics. Lines only for online CPUs.
    SOFTNET: "softnet", Cpu, 32 bits, "/proc/net/softnet_stat", "net/core/net-procfs.c softnet_seq_show()";
    /// How often each kind of softirq ran, per CPU.
    SOFTIRQS: "softirqs", Cpu, 32 bits, "/proc/softirqs", "fs/proc/softirqs.c show_softirqs()";
    /// Where each CPU's time went.
    CPU: "cpu", Cpu, 64 bits, "/proc/stat", "fs/proc/stat.c show_stat()";
    /// Sums over the machine.
    STAT: "stat", Machine, 64 bits, "/proc/stat", "fs/proc/stat.c show_stat()";
    /// IPv4.
    IP: "Ip", Netns, 64 bits, "/proc/net/snmp", "net/ipv4/proc.c snmp4_ipstats_list";
    /// ICMP over IPv4.
    ICMP: "Icmp", Netns, 64 bits, "/proc/net/snmp", "net/ipv4/proc.c icmp_put()";
    /// TCP over IPv4 and IPv6.
    TCP: "Tcp", Netns, 64 bits, "/proc/net/snmp", "net/ipv4/proc.c snmp4_tcp_list";
    /// UDP over IPv4.
    UDP: "Udp", Netns, 64 bits, "/proc/net/snmp", "net/ipv4/proc.c snmp4_udp_list";
    /// UDP-Lite over IPv4; gone since 7.1.
    UDP_LITE: "UdpLite", Netns, 64 bits, "/proc/net/snmp", "net/ipv4/proc.c snmp4_udp_list";
    /// More of TCP, and a few of other layers.
    TCP_EXT: "TcpExt", Netns, 64 bits, "/proc/net/netstat", "net/ipv4/proc.c snmp4_net_list";
    /// More of IPv4.
    IP_EXT: "IpExt", Netns, 64 bits, "/proc/net/netstat", "net/ipv4/proc.c snmp4_ipextstats_list";
    /// IPv6.
    IP6: "Ip6", Netns, 64 bits, "/proc/net/snmp6", "net/ipv6/proc.c snmp6_ipstats_list";
    /// ICMP over IPv6.
    ICMP6: "Icmp6", Netns, 64 bits, "/proc/net/snmp6", "net/ipv6/proc.c snmp6_icmp6_list";
    /// UDP over IPv6.
    UDP6: "Udp6", Netns, 64 bits, "/proc/net/snmp6", "net/ipv6/proc.c snmp6_udp6_list";
    /// UDP-Lite over IPv6; gone since 7.1.
    UDP_LITE6: "UdpLite6", Netns, 64 bits, "/proc/net/snmp6", "net/ipv6/proc.c snmp6_udp6_list";
    /// Sockets in use. `inuse` and `tw` are of the namespace, `orphan`, `alloc` and `mem` of the machine.
    SOCKSTAT: "sockstat", Netns, 64 bits, "/proc/net/sockstat", "net/ipv4/proc.c sockstat_seq_show()";
    /// IPv6 sockets in use.
    SOCKSTAT6: "sockstat6", Netns, 64 bits, "/proc/net/sockstat6", "net/ipv6/proc.c sockstat6_seq_show()";
    /// Connection tracking.
    NF_CONNTRACK: "nf_conntrack", Netns, 32 bits, folded, "/proc/net/stat/nf_conntrack",
        "net/netfilter/nf_conntrack_standalone.c ct_cpu_seq_show()";
    /// The fill of the connection tracking table.
    CONNTRACK: "conntrack", Netns, 64 bits, "/proc/sys/net/netfilter",
        "net/netfilter/nf_conntrack_standalone.c nf_ct_sysctl_table";
    /// The SYN proxy of netfilter.
    SYNPROXY: "synproxy", Netns, 32 bits, folded, "/proc/net/stat/synproxy",
        "net/netfilter/nf_synproxy_core.c synproxy_cpu_seq_show()";
    /// The IPv4 neighbour table, one for the whole machine. Shown only in the initial network namespace.
    ARP_CACHE: "arp_cache", Machine, 64 bits, folded, "/proc/net/stat/arp_cache",
        "net/core/neighbour.c neigh_stat_seq_show()";
    /// The IPv6 neighbour table, one for the whole machine. Shown only in the initial network namespace.
    NDISC_CACHE: "ndisc_cache", Machine, 64 bits, folded, "/proc/net/stat/ndisc_cache",
        "net/core/neighbour.c neigh_stat_seq_show()";
    /// IPv4 routing. The cache is gone since 3.6; a few columns live on, counted for the whole machine.
    RT_CACHE: "rt_cache", Machine, 32 bits, folded, "/proc/net/stat/rt_cache",
        "net/ipv4/route.c rt_cpu_seq_show()";
    /// Sockets, added up.
    SOCKETS: "sockets", Netns, 64 bits, "sock_diag SOCK_DIAG_BY_FAMILY", "net/ipv4/inet_diag.c inet_sk_diag_fill()";
    /// TLS done by the kernel.
    TLS: "tls", Netns, 64 bits, "/proc/net/tls_stat", "net/tls/tls_proc.c tls_statistics_seq_show()";
    /// IPsec: packets that its policies or its protection refused.
    XFRM: "xfrm", Netns, 64 bits, "/proc/net/xfrm_stat", "net/xfrm/xfrm_proc.c xfrm_statistics_seq_show()";
    /// The protocols that the kernel knows. Sockets are those of the namespace, memory is that of the machine.
    PROTOCOLS: "protocols", Netns, 64 bits, "/proc/net/protocols", "net/core/sock.c proto_seq_printf()";
    /// All netlink sockets that there are, added up.
    NETLINK: "netlink", Netns, 64 bits, "/proc/net/netlink", "net/netlink/af_netlink.c netlink_native_seq_show()";
    /// All raw IPv4 sockets that there are, added up.
    RAW: "raw", Netns, 64 bits, "/proc/net/raw", "net/ipv4/raw.c raw_sock_seq_show()";
    /// All raw IPv6 sockets that there are, added up.
    RAW6: "raw6", Netns, 64 bits, "/proc/net/raw6", "net/ipv6/datagram.c __ip6_dgram_sock_seq_show()";
    /// Time that tasks waited for a CPU.
    PRESSURE_CPU: "pressure_cpu", Machine, 64 bits, "/proc/pressure/cpu", "kernel/sched/psi.c psi_show()";
    /// Time that tasks waited for memory.
    PRESSURE_MEMORY: "pressure_memory", Machine, 64 bits, "/proc/pressure/memory", "kernel/sched/psi.c psi_show()";
    /// Time that interrupts kept tasks waiting, since 6.1.
    PRESSURE_IRQ: "pressure_irq", Machine, 64 bits, "/proc/pressure/irq", "kernel/sched/psi.c psi_show()";
    /// Network devices.
    LINK: "link", Device, 64 bits, "rtnetlink RTM_GETLINK, IFLA_STATS64", "net/core/rtnetlink.c rtnl_fill_stats()";
    /// How often a device lost its carrier and got it back.
    CARRIER: "carrier", Device, 32 bits, "rtnetlink RTM_GETLINK, IFLA_CARRIER_DOWN_COUNT",
        "net/core/rtnetlink.c rtnl_fill_ifinfo()";
    /// Network devices that are software alone: a counter of `link` means something else for each kind of them.
    VIRTUAL: "virtual", Device, 64 bits, "rtnetlink RTM_GETLINK, IFLA_INFO_KIND", "net/core/rtnetlink.c rtnl_fill_stats()";
    /// What byte queue limits (BQL) let wait in a transmit queue. Of devices with hardware behind them.
    BQL: "bql", Queue, 64 bits, "sysfs, byte_queue_limits", "net/core/net-sysfs.c bql_show()";
    /// Transmit queues of devices with hardware behind them.
    TX_QUEUE: "tx_queue", Queue, 64 bits, "sysfs, queues", "net/core/net-sysfs.c tx_timeout_show()";
    /// Drivers' own statistics, under names that do not depend on the driver.
    NIC: "nic", Device, 64 bits, "ioctl SIOCETHTOOL, as ethtool -S", "net/ethtool/ioctl.c ethtool_get_stats()";
    /// The same for a queue, where a driver counts by queue.
    NIC_QUEUE: "nic_queue", Queue, 64 bits, "ioctl SIOCETHTOOL, as ethtool -S",
        "net/ethtool/ioctl.c ethtool_get_stats()";
    /// Interrupts of network cards, by vector.
    INTERRUPTS: "interrupts", Queue, 64 bits, "ethtool's place on the bus, /proc/interrupts",
        "kernel/irq/proc.c show_interrupts()";
    /// The physical layer's standard statistics.
    ETH_PHY: "eth-phy", Device, 64 bits, "ethtool netlink STATS_GET", "net/ethtool/stats.c stats_put_phy_stats()";
    /// The MAC's standard statistics, IEEE 802.3 chapter 30.
    ETH_MAC: "eth-mac", Device, 64 bits, "ethtool netlink STATS_GET", "net/ethtool/stats.c stats_put_mac_stats()";
    /// The MAC's control frames.
    ETH_CTRL: "eth-ctrl", Device, 64 bits, "ethtool netlink STATS_GET", "net/ethtool/stats.c stats_put_ctrl_stats()";
    /// Remote monitoring statistics, RFC 2819.
    RMON: "rmon", Device, 64 bits, "ethtool netlink STATS_GET", "net/ethtool/stats.c stats_put_rmon_stats()";
    /// Pause frames.
    PAUSE: "pause", Device, 64 bits, "ethtool netlink PAUSE_GET", "net/ethtool/pause.c pause_fill_reply()";
    /// Forward error correction.
    FEC: "fec", Device, 64 bits, "ethtool netlink FEC_GET", "net/ethtool/fec.c fec_put_stats()";
    /// The physical link.
    LINKSTATE: "linkstate", Device, 32 bits, "ethtool netlink LINKSTATE_GET",
        "net/ethtool/linkstate.c linkstate_fill_reply()";
    /// Queue statistics with standard names, added up over the device.
    QSTATS: "qstats", Device, 64 bits, "netdev netlink qstats-get", "net/core/netdev-genl.c netdev_nl_stats_by_netdev()";
    /// The same by queue.
    QSTATS_QUEUE: "qstats_queue", Queue, 64 bits, "netdev netlink qstats-get",
        "net/core/netdev-genl.c netdev_nl_stats_by_queue()";
    /// Queueing disciplines, those that a device's packets enter first. What is lost below them is counted here too.
    QDISC: "qdisc", Device, 32 bits, "rtnetlink RTM_GETQDISC, TCA_STATS2", "net/sched/sch_api.c tc_fill_qdisc()";
    /// Queueing disciplines below another, and classes: parts of what their root counts.
    QDISC_CHILD: "qdisc_child", Device, 32 bits, "rtnetlink RTM_GETQDISC and RTM_GETTCLASS, TCA_STATS2",
        "net/sched/sch_api.c tc_fill_qdisc(), tc_fill_tclass()";
    /// The hooks of tc's filters and programs, both ways of a device together.
    CLSACT: "clsact", Device, 32 bits, "rtnetlink RTM_GETQDISC, TCA_STATS2", "net/sched/sch_ingress.c clsact_init()";
    /// What only fq counts.
    FQ: "fq", Device, 64 bits, "rtnetlink RTM_GETQDISC, TCA_STATS_APP", "net/sched/sch_fq.c fq_dump_stats()";
    /// What only fq_codel counts.
    FQ_CODEL: "fq_codel", Device, 32 bits, "rtnetlink RTM_GETQDISC, TCA_STATS_APP",
        "net/sched/sch_fq_codel.c fq_codel_dump_stats()";
    /// What only the classes of htb count.
    HTB: "htb", Device, 32 bits, "rtnetlink RTM_GETTCLASS, TCA_STATS_APP",
        "net/sched/sch_htb.c htb_dump_class_stats()";
    /// What only cake counts.
    CAKE: "cake", Device, 32 bits, "rtnetlink RTM_GETQDISC, TCA_STATS_APP", "net/sched/sch_cake.c cake_dump_stats()";
    /// What the disciplines below mq hand to the driver, by the transmit queue that each stands before.
    MQ: "mq", Queue, 32 bits, "rtnetlink RTM_GETQDISC, TCA_STATS2", "net/sched/sch_mq.c mq_attach()";
    /// Pages that a device's receive buffers are made of, all its pools together.
    PAGE_POOL: "page_pool", Device, 64 bits, "netdev netlink page-pool-stats-get",
        "net/core/page_pool_user.c page_pool_nl_stats_fill()";
}

/// What the tables in a text file look like.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Tables that bear their group's id, or a single one.
    Tables(fn(&[u8]) -> Vec<Sheet<'_>>),
    /// Lines of one table: `TCP: inuse 5` is its column `TCP_inuse`.
    Lines(fn(&[u8]) -> Vec<Sheet<'_>>),
    /// A single number, the column of this name.
    Number(&'static str),
}

/// A text file with one or more tables.
pub struct Door {
    /// Its path below the root.
    pub path: &'static str,
    /// The tables in it.
    pub groups: &'static [&'static Group],
    /// How its bytes become rows.
    pub shape: Shape,
}

impl Door {
    /// True if the file says the same in every network namespace.
    pub fn is_of_machine(&self) -> bool {
        self.groups.iter().all(|group| group.scope.is_of_machine())
    }
}

const fn door(path: &'static str, groups: &'static [&'static Group], shape: Shape) -> Door {
    Door { path, groups, shape }
}

/// Every text file, in the order of reading: those whose counters are compared with each other stand together.
/// `/proc/stat` is first: it tells which CPUs are online.
pub static DOORS: &[Door] = &[
    door("proc/stat", &[&CPU, &STAT], Shape::Tables(text::stat)),
    door("proc/softirqs", &[&SOFTIRQS], Shape::Tables(text::cpu_columns)),
    door("proc/net/softnet_stat", &[&SOFTNET], Shape::Tables(text::softnet)),
    door("proc/net/snmp", &[&IP, &ICMP, &TCP, &UDP, &UDP_LITE], Shape::Tables(text::headed_pairs)),
    door("proc/net/snmp6", &[&IP6, &ICMP6, &UDP6, &UDP_LITE6], Shape::Tables(text::prefixed_values)),
    door("proc/net/netstat", &[&TCP_EXT, &IP_EXT], Shape::Tables(text::headed_pairs)),
    door("proc/net/stat/nf_conntrack", &[&NF_CONNTRACK], Shape::Tables(text::hex_table)),
    door("proc/net/sockstat", &[&SOCKSTAT], Shape::Lines(text::word_values)),
    door("proc/net/sockstat6", &[&SOCKSTAT6], Shape::Lines(text::word_values)),
    door("proc/net/tls_stat", &[&TLS], Shape::Tables(lists::named_values)),
    door("proc/net/stat/synproxy", &[&SYNPROXY], Shape::Tables(text::hex_table)),
    door("proc/net/stat/arp_cache", &[&ARP_CACHE], Shape::Tables(text::hex_table)),
    door("proc/net/stat/ndisc_cache", &[&NDISC_CACHE], Shape::Tables(text::hex_table)),
    door("proc/net/stat/rt_cache", &[&RT_CACHE], Shape::Tables(text::hex_table)),
    door("proc/net/xfrm_stat", &[&XFRM], Shape::Tables(lists::named_values)),
    door("proc/net/protocols", &[&PROTOCOLS], Shape::Lines(lists::protocols)),
    door("proc/net/netlink", &[&NETLINK], Shape::Tables(lists::column_sums)),
    door("proc/net/raw", &[&RAW], Shape::Tables(lists::column_sums)),
    door("proc/net/raw6", &[&RAW6], Shape::Tables(lists::column_sums)),
    door("proc/pressure/cpu", &[&PRESSURE_CPU], Shape::Tables(lists::pressure)),
    door("proc/pressure/memory", &[&PRESSURE_MEMORY], Shape::Tables(lists::pressure)),
    door("proc/pressure/irq", &[&PRESSURE_IRQ], Shape::Tables(lists::pressure)),
    door("proc/sys/net/netfilter/nf_conntrack_count", &[&CONNTRACK], Shape::Number("count")),
    door("proc/sys/net/netfilter/nf_conntrack_max", &[&CONNTRACK], Shape::Number("max")),
];
