# Every minion of the site: when the address of the master moves to another host, it comes back by itself.
#
# A master that loses power closes no connection. With Salt's defaults its minions wait for minutes on a
# connection to a host that is not there any more; see docs/install.md for the figures.
{%- if grains['kernel'] == 'Linux' %}
The minion comes back within seconds when its master has moved:
  salt_minion.configured:
    - name: failback-reconnect
    - settings:
        # After 2 s of silence the kernel asks every second. The host that has taken the address resets
        # the connection with its first answer. It is not given up before: a new attempt to connect
        # while nobody has the address would be repeated after 1, 3, 7 and 15 s only.
        tcp_keepalive: true
        tcp_keepalive_idle: 2
        tcp_keepalive_cnt: 30
        tcp_keepalive_intvl: 1
        # Milliseconds between attempts to connect anew.
        recon_default: 100
        recon_max: 500
        recon_randomize: false
        # The other master has another session key: seconds around the new authentication.
        auth_timeout: 5
        acceptance_wait_time: 1
        acceptance_wait_time_max: 2
        random_reauth_delay: 1
{%- endif %}
