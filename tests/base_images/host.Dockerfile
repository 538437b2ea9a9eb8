# A school as a whole host: systemd, sshd and an engine of its own, started with the options of tests/stand/host.py.
FROM clms-base:bookworm
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends \
      age ca-certificates dbus docker.io faketime gnupg iproute2 iptables openssh-server procps python3 python3-apt \
      rsync systemd systemd-sysv zstd \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 # what a container cannot do, or nobody needs here
 && systemctl mask systemd-udevd.service systemd-modules-load.service systemd-networkd-wait-online.service \
      systemd-resolved.service systemd-timesyncd.service getty.target console-getty.service \
 && systemctl enable docker.service ssh.service \
 && mkdir -p /root/.ssh && chmod 0700 /root/.ssh
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
