/* Asks sock_diag for the TCP sockets with the extensions that `netstat-deep sockets` asks for, as often as it does, and
 * throws the answers away: what reading them costs at least. */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[32 << 10];

static int drain(void)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req request;
	} ask;
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);

	memset(&ask, 0, sizeof(ask));
	ask.head.nlmsg_len = sizeof(ask);
	ask.head.nlmsg_type = TCPDIAG_GETSOCK;
	ask.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	ask.request.idiag_ext = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_CONG - 1) | 1 << (INET_DIAG_SKMEMINFO - 1);
	ask.request.idiag_states = ~0u;
	if (fd < 0 || sendto(fd, &ask, sizeof(ask), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return 1;
	for (;;) {
		ssize_t length = recv(fd, buffer, sizeof(buffer), 0);
		struct nlmsghdr *head = (struct nlmsghdr *)buffer;

		if (length <= 0 || head->nlmsg_type == NLMSG_ERROR)
			return 1;
		/* The end stands in a datagram of its own, or behind the last sockets. */
		for (; NLMSG_OK(head, length); head = NLMSG_NEXT(head, length))
			if (head->nlmsg_type == NLMSG_DONE)
				return close(fd);
	}
}

int main(int argc, char **argv)
{
	for (int times = argc > 1 ? atoi(argv[1]) : 1; times > 0; times--)
		if (drain())
			return 1;
	return 0;
}
