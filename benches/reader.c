/*
 * The floor: reads the same bytes as `netstat-deep rx --interval 0` and does nothing with them.
 *
 *   reader -d CARD... -- FILE...
 *
 * Of each card the driver's statistics (SIOCETHTOOL); the files; by netlink RTM_GETLINK, ethtool's standard, pause, FEC and
 * link state statistics, netdev's qstats by device and by queue and its page pools, and sock_diag for UDP and listening TCP
 * over IPv4 and IPv6.
 */
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/if.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 16];

/* Sends a request on an open socket and reads its answer to the end. */
static long ask(int fd, const void *request, size_t length)
{
	long total = 0;

	if (send(fd, request, length, 0) < 0)
		return 0;
	for (;;) {
		ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
		struct nlmsghdr *h = (void *)buffer;
		int left = (int)got;

		if (got <= 0)
			return total;
		total += got;
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				return total;
	}
}

static int open_netlink(int protocol)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
}

struct generic {
	struct nlmsghdr h;
	struct genlmsghdr g;
	unsigned char payload[64];
};

/* The number of a generic netlink family. */
static int family(int fd, const char *name)
{
	struct generic get = { { 0, GENL_ID_CTRL, NLM_F_REQUEST, 1, 0 }, { CTRL_CMD_GETFAMILY, 2, 0 }, { 0 } };
	struct nlattr *attribute = (void *)get.payload;
	ssize_t got;

	attribute->nla_len = NLA_HDRLEN + strlen(name) + 1;
	attribute->nla_type = CTRL_ATTR_FAMILY_NAME;
	strcpy((char *)get.payload + NLA_HDRLEN, name);
	get.h.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN + NLA_ALIGN(attribute->nla_len));
	if (send(fd, &get, get.h.nlmsg_len, 0) < 0 || (got = recv(fd, buffer, sizeof(buffer), 0)) <= 0)
		return -1;
	for (char *at = buffer + NLMSG_LENGTH(GENL_HDRLEN); at < buffer + got;) {
		struct nlattr *one = (void *)at;

		if (one->nla_type == CTRL_ATTR_FAMILY_ID)
			return *(unsigned short *)(at + NLA_HDRLEN);
		if (one->nla_len < NLA_HDRLEN)
			break;
		at += NLA_ALIGN(one->nla_len);
	}
	return -1;
}

static long dump_generic(int fd, int family, int command, const void *payload, size_t length)
{
	struct generic get = { { 0, family, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { command, 1, 0 }, { 0 } };

	if (family < 0)
		return 0;
	memcpy(get.payload, payload, length);
	get.h.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN + length);
	return ask(fd, &get, get.h.nlmsg_len);
}

/* include/uapi/linux/ethtool_netlink.h and netdev.h: numbers, for headers that are older than the kernel. */
static long generic_dumps(void)
{
	/* The header with ETHTOOL_FLAG_STATS, and an empty one. */
	static const unsigned int with_statistics[] = { 12 | (1 | NLA_F_NESTED) << 16, 8 | 3 << 16, 1 << 2 };
	static const unsigned int plain[] = { 4 | (1 | NLA_F_NESTED) << 16 };
	/* An empty header, and the groups eth-phy, eth-mac, eth-ctrl and rmon as a bitset. */
	static const unsigned int standard[] = { 4 | (2 | NLA_F_NESTED) << 16, 24 | (3 | NLA_F_NESTED) << 16,
		4 | 1 << 16, 8 | 2 << 16, 4, 8 | 4 << 16, 15 };
	static const unsigned int by_queue[] = { 8 | 4 << 16, 1 };
	int fd = open_netlink(NETLINK_GENERIC);
	int ethtool = family(fd, "ethtool"), netdev = family(fd, "netdev");
	long total = 0;

	total += dump_generic(fd, ethtool, 32, standard, sizeof(standard));
	total += dump_generic(fd, ethtool, 21, with_statistics, sizeof(with_statistics));
	total += dump_generic(fd, ethtool, 29, with_statistics, sizeof(with_statistics));
	total += dump_generic(fd, ethtool, 6, plain, sizeof(plain));
	total += dump_generic(fd, netdev, 12, "", 0);
	total += dump_generic(fd, netdev, 12, by_queue, sizeof(by_queue));
	total += dump_generic(fd, netdev, 9, "", 0);
	close(fd);
	return total;
}

static long driver(const char *device)
{
	static char room[1 << 20];
	struct ethtool_drvinfo *info = (void *)room;
	struct ethtool_gstrings *names = (void *)room;
	struct ethtool_stats *values = (void *)room;
	struct ifreq request = { 0 };
	unsigned int count;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strncpy(request.ifr_name, device, IFNAMSIZ - 1);
	request.ifr_data = room;
	info->cmd = ETHTOOL_GDRVINFO;
	if (ioctl(fd, SIOCETHTOOL, &request))
		return 0;
	count = info->n_stats;
	*names = (struct ethtool_gstrings){ ETHTOOL_GSTRINGS, ETH_SS_STATS, count };
	if (count > 0 && count < sizeof(room) / ETH_GSTRING_LEN - 1 && !ioctl(fd, SIOCETHTOOL, &request)) {
		*values = (struct ethtool_stats){ ETHTOOL_GSTATS, count };
		ioctl(fd, SIOCETHTOOL, &request);
	}
	close(fd);
	return count * (ETH_GSTRING_LEN + 8);
}

int main(int argc, char **argv)
{
	struct { struct nlmsghdr h; struct ifinfomsg i; } link = {
		{ sizeof(link), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { 0 } };
	static const struct { int family, protocol; unsigned int states; } sockets[] = {
		{ AF_INET, IPPROTO_UDP, ~0u }, { AF_INET6, IPPROTO_UDP, ~0u },
		{ AF_INET, IPPROTO_TCP, 1 << 10 }, { AF_INET6, IPPROTO_TCP, 1 << 10 } };
	long total = 0;
	int i = 1, fd;

	if (argc > 1 && !strcmp(argv[1], "-d"))
		for (i = 2; i < argc && strcmp(argv[i], "--"); i++)
			total += driver(argv[i]);
	for (i++; i < argc; i++) {
		ssize_t got;

		fd = open(argv[i], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		while ((got = read(fd, buffer, sizeof(buffer))) > 0)
			total += got;
		close(fd);
	}
	fd = open_netlink(NETLINK_ROUTE);
	total += ask(fd, &link, sizeof(link));
	close(fd);
	total += generic_dumps();
	fd = open_netlink(NETLINK_SOCK_DIAG);
	for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
		struct { struct nlmsghdr h; struct inet_diag_req_v2 r; } diag;

		memset(&diag, 0, sizeof(diag));
		diag.h = (struct nlmsghdr){ sizeof(diag), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 };
		diag.r.sdiag_family = sockets[i].family;
		diag.r.sdiag_protocol = sockets[i].protocol;
		diag.r.idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1);
		diag.r.idiag_states = sockets[i].states;
		total += ask(fd, &diag, sizeof(diag));
	}
	close(fd);
	printf("%ld\n", total);
	return total < 0;
}
