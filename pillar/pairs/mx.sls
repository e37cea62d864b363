# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two mail servers. Postfix starts with each of them, and senders try one after the other: there is
# no address to move, no file to carry, and no service that must wait for its configuration.
pairs:
  mx:
    primary: {id: mx1, host: 10.0.0.41}           # site
    secondary: {id: mx2, host: 10.0.0.42}         # site
    mode: automatic
    recovery:
      boot_timeout: 300                           # site
