# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two servers of home directories. The second one is the primary.
pairs:
  home:
    primary: {id: home2, host: 10.0.0.62}         # site
    secondary: {id: home1, host: 10.0.0.61}       # site
    replicate:
      - /srv/home                                 # site
    recovery:
      boot_timeout: 300                           # site
