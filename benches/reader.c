/*
 * The floor: reads the same bytes as `netstat-deep rx --interval 0` and does nothing with them. The files come as
 * arguments; the netlink dumps are RTM_GETLINK, and sock_diag for UDP and listening TCP over IPv4 and IPv6.
 */
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 16];

static long drain(int protocol, const void *request, size_t length)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	long total = 0;

	if (fd < 0 || send(fd, request, length, 0) < 0)
		return -1;
	for (;;) {
		ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
		struct nlmsghdr *h = (void *)buffer;
		int left = (int)got;

		if (got <= 0)
			return -1;
		total += got;
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
				close(fd);
				return total;
			}
		}
	}
}

int main(int argc, char **argv)
{
	struct { struct nlmsghdr h; struct ifinfomsg i; } link = {
		{ sizeof(link), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { 0 } };
	static const struct { int family, protocol; unsigned int states; } sockets[] = {
		{ AF_INET, IPPROTO_UDP, ~0u }, { AF_INET6, IPPROTO_UDP, ~0u },
		{ AF_INET, IPPROTO_TCP, 1 << 10 }, { AF_INET6, IPPROTO_TCP, 1 << 10 } };
	long total = 0;

	for (int i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
		ssize_t got;

		if (fd < 0)
			continue;
		while ((got = read(fd, buffer, sizeof(buffer))) > 0)
			total += got;
		close(fd);
	}
	total += drain(NETLINK_ROUTE, &link, sizeof(link));
	for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
		struct { struct nlmsghdr h; struct inet_diag_req_v2 r; } diag;

		memset(&diag, 0, sizeof(diag));
		diag.h = (struct nlmsghdr){ sizeof(diag), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 };
		diag.r.sdiag_family = sockets[i].family;
		diag.r.sdiag_protocol = sockets[i].protocol;
		diag.r.idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1);
		diag.r.idiag_states = sockets[i].states;
		total += drain(NETLINK_SOCK_DIAG, &diag, sizeof(diag));
	}
	printf("%ld\n", total);
	return total < 0;
}
