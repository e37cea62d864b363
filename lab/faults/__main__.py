import sys

from lab.faults import campaign

sys.exit(campaign.main())
